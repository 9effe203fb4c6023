// The callbacks of a client, by name. Knows no connection.

/** Names that are not streams. */
export const CALLBACKS = "event book gap missed resumed stale notice connected disconnected error".split(" ");
const NAMES = ["order", "trade", "balances", "deposit_address", ...CALLBACKS];

/** @import { BodyOf } from "../channels.mjs" */
/** @typedef {import("../peatio-client.mjs").Callbacks} Arguments */

/**
 * The type of the callback for a name; `never` for a candle or a view that does not exist.
 *
 * @template Name
 * @typedef {Name extends keyof Arguments ? Arguments[Name] : [BodyOf<Name>] extends [never] ? never
 *   : (event: import("../peatio-client.mjs").PeatioEvent<BodyOf<Name>>) => unknown} CallbackOf
 */

/** Callbacks in the order in which they were registered. */
export class Callbacks {
  /** @type {Map<string, { callback: Function, once: boolean }[]>} */
  #byName = new Map();

  /**
   * @param {string} name
   * @param {Function} callback
   * @param {{ once: boolean, signal?: AbortSignal }} options
   * @throws {TypeError} there is no such name
   */
  add(name, callback, { once, signal }) {
    if (!NAMES.includes(name) && !name.includes("."))
      throw new TypeError(`unknown name ${name}: neither a stream, which has a dot, nor one of ${NAMES.join(", ")}`);
    if (signal?.aborted) return;
    const entry = { callback, once };
    this.#byName.set(name, [...this.#of(name), entry]);
    signal?.addEventListener("abort", () => this.#drop(name, entry), { once: true });
  }

  /** Remove a callback, or all of a name. Idempotent. @param {string} name @param {Function} [callback] */
  remove(name, callback) {
    this.#byName.set(name, callback ? this.#of(name).filter((entry) => entry.callback !== callback) : []);
  }

  /** @param {string} name */
  has(name) {
    return this.#of(name).length > 0;
  }

  /** Call and await the callbacks. Remove a callback of `once` after it has settled. @param {string} name @param {unknown} what */
  async call(name, what) {
    for (const entry of this.#of(name)) {
      if (!this.#of(name).includes(entry)) continue; // an earlier one removed it
      await entry.callback(what);
      if (entry.once) this.#drop(name, entry);
    }
  }

  /** @param {string} name */
  #of(name) {
    return this.#byName.get(name) ?? [];
  }

  /** @param {string} name @param {object} entry */
  #drop(name, entry) {
    this.#byName.set(name, this.#of(name).filter((other) => other !== entry));
  }
}

/** Return the log line for a callback, without tokens and payloads; empty if it is not logged. @param {string} name @param {any} what */
export function lineOf(name, what) {
  switch (name) {
    case "gap":
      return "gap: events may be missing";
    case "missed":
      return `missed: events of ${what.stream} may be missing`;
    case "resumed":
      return `resumed, ${what.complete ? "complete" : "but events may be missing"}`;
    case "error":
      return `error: ${what}`;
    case "connected":
      return `connected, ${what.streams.length} streams`;
    case "disconnected": {
      const then = what.pause === null ? "no further attempt" : `next attempt in ${what.pause.toFixed(1)} s`;
      return `disconnected: ${what.code} ${what.reason}; ${then}`;
    }
  }
  return "";
}

/** Return the function that writes log lines. @param {boolean | ((message: string) => void) | undefined} debug */
export function logger(debug) {
  const write = debug === true ? console.debug : debug || (() => {});
  return (/** @type {string} */ message) => write(`peatio-client: ${message}`);
}
