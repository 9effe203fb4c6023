// The protocol of one connection: frames in, steps out. Knows no socket.
//
// This is Ranger's protocol. A page cannot set headers, so the token follows in a message.

import { Ended, LOST, UNAUTHORIZED } from "./errors.mjs";
import { Trades } from "./trades.mjs";

/** The streams of a client that names none. */
export const PRIVATE = ["order", "trade"];
export const NOT_BY_THE_PROXY =
  "the proxy did not authenticate the connection; log in again, so that it sends a valid cookie, or sign each handshake with a valid API key";
const AFTER_REPLAY = "after the replay"; // `echo` of a message that the gateway answers after the missed events
const QUERY_LENGTH = 4000; // limit for streams in an address: servers and proxies accept lines of 8 KiB, with the rest

/**
 * A step that a frame requires.
 *
 * @typedef {{ say: string } | { live: string[] } | { place: Place } | { event: import("../peatio-client.mjs").PeatioEvent }
 *   | { missed: string } | { resumed: { complete: boolean } } | { notice: any } | { complaint: string, refused: boolean, postponed: boolean } | { renewed: true }} Step
 * @typedef {{ cursor: string | null, complete: boolean }} Place the position of the client, and whether it has
 *   received everything before it
 * @typedef {{ streams: string[], token: string | null, byProxy: boolean, cursor: string | null, notices: boolean,
 *   trades?: Trades }} Wishes `trades`: positions from earlier connections
 */

/** The protocol of one connection. */
export class Conversation {
  /** Streams that were requested from the gateway. @type {Set<string>} */
  asked;
  /** The address to connect to. @type {string} */
  address;
  /** Whether the client waits for the answer to a fresh token. */
  renewing = false;

  #token;
  #byProxy;
  #cursor;
  #notices;
  #trades;
  /** Streams that need the token first. @type {string[]} */
  #rest;
  /** The expected answer of the gateway. @type {"first" | "token" | "streams" | "nothing"} */
  #awaited = "first";
  /** To be reported once the connection is live, or before its first event. @type {Place | null} */
  #place = null;
  /** Whether the gateway has guaranteed all events so far. */
  #complete = true;
  /** Whether the end of the replay is expected. */
  #resumes;

  /** @param {string} url without streams @param {Wishes} wishes */
  constructor(url, { streams, token, byProxy, cursor, notices, trades = new Trades() }) {
    this.#trades = trades;
    trades.keep(streams);
    this.#token = token;
    this.#byProxy = byProxy;
    this.#cursor = cursor;
    this.#resumes = cursor !== null && streams.some((name) => !isPublic(name));
    this.#notices = notices;
    this.#rest = byProxy ? [] : streams.filter((name) => !isPublic(name));
    this.asked = new Set(this.#rest);
    const parts = new URL(url);
    // With a token in a message: `…/private` would require it earlier.
    if (token !== null) parts.pathname = parts.pathname.replace(/\/private(\/*)$/, "/public$1");
    let room = QUERY_LENGTH;
    const named = [];
    // Private streams first: the missed events follow once these are subscribed.
    const first = byProxy ? streams.filter((stream) => !isPublic(stream)) : [];
    for (const name of [...first, ...streams.filter(isPublic)]) {
      const query = [["stream", name], ...trades.query([name])];
      room -= new URLSearchParams(query).toString().length + 1;
      if (room < 0) break; // the others are requested by message
      parts.searchParams.append("stream", name);
      named.push(name);
    }
    for (const name of named) this.asked.add(name);
    for (const [name, value] of trades.query(named)) parts.searchParams.append(name, value);
    if (!parts.searchParams.has("stream")) parts.searchParams.append("stream", "");
    if (byProxy) parts.searchParams.append("resume", cursor ?? "1");
    if (notices && token === null) parts.searchParams.append("notices", "1");
    this.address = parts.href;
  }

  /** Whether the connection is authenticated and subscribed. */
  get live() {
    return this.#awaited === "nothing";
  }

  /** The message that subscribes to these streams. @param {string[]} streams */
  subscribe(streams) {
    for (const name of streams) this.asked.add(name);
    return JSON.stringify({ event: "subscribe", streams, ...this.#trades.fields(streams) });
  }

  /** @param {string[]} streams */
  unsubscribe(streams) {
    for (const name of streams) this.asked.delete(name);
    this.#trades.drop(streams);
    return JSON.stringify({ event: "unsubscribe", streams });
  }

  /** The message that sends a fresh token. @param {string} token */
  renew(token) {
    this.renewing = true;
    return JSON.stringify({ jwt: `Bearer ${token}` });
  }

  /**
   * @param {string} text
   * @returns {Step[]}
   */
  take(text) {
    const frame = parsed(text);
    if (!frame) throw new Ended(LOST, "not a message from the gateway");
    if (frame.echo === AFTER_REPLAY && this.#resumes) {
      this.#resumes = false;
      return [{ resumed: { complete: this.#complete } }];
    }
    if ("success" in frame) {
      const missed = this.#trades.take(frame.success?.streams ?? [], frame);
      return [...missed.map((name) => ({ missed: name })), ...this.#succeed(frame)];
    }
    if ("error" in frame) return [this.#complain(frame.error)];
    const [stream, data] = Object.entries(frame)[0];
    const alone = Object.keys(frame).length === 1;
    if (alone && stream === "resume" && data) return [...this.#placeBefore(data.cursor), { place: this.#placeOf(data) }];
    if (alone && stream === "complete" && !this.asked.has(stream))
      return Object.keys(data).flatMap((name) => (data[name] ? [] : [{ missed: name }]));
    if (alone && stream === "notice" && this.#notices && !this.asked.has(stream)) return [{ notice: data }];
    return [...this.#placeBefore(frame.cursor), { event: { stream, data, cursor: frame.cursor ?? null, text, mark: frame.mark ?? null } }];
  }

  /** @returns {Step} */
  #showToken() {
    this.#awaited = "token";
    const notices = this.#notices ? { notices: true } : {};
    return { say: JSON.stringify({ jwt: `Bearer ${this.#token}`, resume: this.#cursor ?? true, ...notices }) };
  }

  /** @param {any} frame @returns {Step[]} */
  #succeed(frame) {
    const streams = frame.success?.streams;
    switch (this.#awaited) {
      case "first":
        if (this.#byProxy) return this.#beginByProxy(frame, streams ?? []);
        return this.#token === null ? this.#goLive(streams ?? []) : [this.#showToken()];
      case "token":
        this.#place = this.#placeOf(frame.resume ?? {}); // a gateway without resuming guarantees nothing
        if (!this.#rest.length) return this.#goLive([...this.asked]);
        this.#awaited = "streams";
        return [{ say: this.subscribe(this.#rest) }];
      case "streams":
        return this.#goLive(streams ?? []);
    }
    if (!this.renewing || streams) return [];
    this.renewing = false;
    return [{ renewed: true }];
  }

  /** @param {any} frame @param {string[]} streams */
  #beginByProxy(frame, streams) {
    const wanted = [...this.asked].some((name) => !isPublic(name));
    if (wanted && streams.every(isPublic)) throw new Ended(UNAUTHORIZED, NOT_BY_THE_PROXY);
    this.#place = this.#placeOf(frame.resume ?? {});
    return this.#goLive(streams);
  }

  /** @param {any} resume @returns {Place} */
  #placeOf({ cursor, complete }) {
    this.#complete &&= Boolean(complete);
    return { cursor: cursor ?? null, complete: Boolean(complete) };
  }

  /** Report the place before an event that precedes the live connection: the next connection may begin after this event. @param {string | undefined} cursor @returns {Step[]} */
  #placeBefore(cursor) {
    const place = this.#place;
    if (!cursor || !place || this.live) return [];
    this.#place = null;
    return [{ place }];
  }

  /** @param {string[]} streams @returns {Step[]} */
  #goLive(streams) {
    this.#awaited = "nothing";
    const place = this.#place ? [{ place: this.#place }] : [];
    const ask = { say: JSON.stringify({ event: "unsubscribe", streams: [], echo: AFTER_REPLAY }) };
    return [{ live: streams }, ...place, ...(this.#resumes ? [ask] : [])];
  }

  /** @param {any} error @returns {Step} */
  #complain(error) {
    const complaint = String(error?.message ?? error);
    // The gateway could not check the token yet.
    const postponed = error?.retry_after !== undefined;
    if (postponed) this.renewing = false;
    let refused = this.#awaited === "token" && Boolean(error?.message) && !postponed; // other errors are texts
    if (this.renewing && complaint === "Authentication failed.") {
      this.renewing = false;
      refused = true;
    }
    return { complaint, refused, postponed };
  }
}

/** @param {string} text @returns {any} a non-empty object, or null */
function parsed(text) {
  try {
    const frame = JSON.parse(text);
    return Object.keys(frame).length && Object.getPrototypeOf(frame) === Object.prototype ? frame : null;
  } catch {
    return null;
  }
}

/** @param {string} stream */
export function isPublic(stream) {
  return stream.split(".").length === 2;
}
