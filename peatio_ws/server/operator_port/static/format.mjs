/** Figures and times as an operator reads them. */

import { server } from "./interface.mjs";

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/** @param {number} number with thin groups of three digits */
export const whole = (number) => Math.round(number).toLocaleString("en");

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ["KB", "MB", "GB", "TB"];
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1]}`;
}

/** A duration with its two largest units at most. @param {number} seconds */
export function lasted(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const parts = /** @type {[number, string][]} */ ([[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);
  const first = parts.findIndex(([unit]) => seconds >= unit);
  const [unit, name] = parts[first];
  const rest = Math.floor((seconds % unit) / (parts[first + 1]?.[0] ?? 1));
  const more = parts[first + 1] && rest ? ` ${rest} ${parts[first + 1][1]}` : "";
  return `${Math.floor(seconds / unit)} ${name}${more}`;
}

/** @param {string} since as the interface writes times @param {number} [now] */
export const age = (since, now = server.now()) => lasted(Math.max(0, (now - Date.parse(since)) / 1000));

/** @param {string | number | Date} at */
export const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

/** With the date if it is not today. @param {string | number} at */
export function moment(at) {
  const time = new Date(at);
  const isToday = time.toDateString() === new Date().toDateString();
  return isToday ? clock(time) : `${time.toLocaleDateString("en", { day: "numeric", month: "short" })} ${clock(time)}`;
}

/** @param {number} seconds a delay */
export const delay = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);
