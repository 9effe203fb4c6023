/**
 * A client for the Peatio WebSocket gateway that loses no fill: it reconnects and resumes. For browsers, and for
 * Node 20.19 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run(); // or: for await (const event of client) …
 *
 * README.md lists the guarantees.
 */

import { Book } from "./src/book.mjs";
import { Callbacks as Registry, logger } from "./src/callbacks.mjs";
import { milliseconds } from "./src/clocks.mjs";
import { Course } from "./src/course.mjs";
import { checked } from "./src/credentials.mjs";
import { FIRST_PAUSE, LONGEST_PAUSE, timedOut } from "./src/errors.mjs";
import { Route } from "./src/route.mjs";
import { checkedView } from "./src/view.mjs";
import { checkHeaders, hasOptions, isNode } from "./src/websocket.mjs";

export { Book };
export { NoToken, Refused, RequestFailed } from "./src/errors.mjs";

/** @import { BodyOf } from "./channels.mjs" */
/** @typedef {import("./src/book.mjs").Level} Level */
/** @typedef {import("./src/view.mjs").View} View */

/**
 * An event from the gateway.
 *
 * @template [Data=any]
 * @typedef {object} PeatioEvent
 * @property {string} stream `order` or `trade` for the member's own events, otherwise the name of the stream
 * @property {Data} data the body
 * @property {string | null} cursor the position after this event, for resuming; null for public streams
 * @property {string} text the frame as received, with every digit of its numbers
 * @property {string | null} mark the position after this event in a public stream of trades; null for other streams
 */

/**
 * A connection that ended, or could not be opened.
 *
 * @typedef {object} Disconnected
 * @property {number} code the close code; 1006 if the connection ended without one; an HTTP status where it is known
 * @property {string} reason what is wrong; browsers do not report why a connection could not be opened
 * @property {number | null} pause seconds until the next attempt; null if the client makes no further attempt
 */

/**
 * The callbacks and their arguments. The client awaits what they return before it continues.
 *
 * @typedef {object} Callbacks
 * @property {(event: PeatioEvent) => unknown} event every event, whatever its stream
 * @property {(book: Book) => unknown} book a maintained book changed
 * @property {(book: Book) => unknown} stale a maintained book is no longer correct
 * @property {(gap: { cursor: string | null }) => unknown} gap private events may be missing; continues at this cursor
 * @property {(missed: { stream: string }) => unknown} missed public trades may be missing
 * @property {(end: { complete: boolean }) => unknown} resumed the missed events were received after a reconnection;
 *   `complete`: whether no private event is missing
 * @property {(notice: any) => unknown} notice a message of an operator; requested from the next connection on
 * @property {(live: { streams: string[] }) => unknown} connected authenticated and subscribed
 * @property {(end: Disconnected) => unknown} disconnected
 * @property {(message: string) => unknown} error an error text of the gateway, why there is no token, or
 *   that an order book has not come
 */

/**
 * Whether an event is of a stream; TypeScript then knows its body.
 *
 * @template {string} Name
 * @param {PeatioEvent} event
 * @param {Name} stream
 * @returns {event is PeatioEvent<BodyOf<Name>>}
 */
export function isOf(event, stream) {
  return event.stream === stream;
}

/** A client that receives a member's orders and trades and any other streams, and reconnects by itself. */
export class PeatioClient {
  #callbacks = new Registry();
  #course;
  #running = false;
  /** @type {AsyncGenerator<PeatioEvent, void, undefined> | null} */
  #events = null;
  /** The event that is waited for; `next` may have given up on it. @type {Promise<IteratorResult<PeatioEvent, void>> | null} */
  #pending = null;

  /**
   * @param {string} url address of the gateway
   * @param {object} [options]
   * @param {string | (() => string | Promise<string>)} [options.token] the session token, or a function that returns it,
   *   a fresh one if possible. The client calls the function for each connection and before the token expires. `NoToken`
   *   from it is reported as "error", and the client asks again later; any other error ends the client. Omit it for
   *   public streams only.
   * @param {readonly string[]} [options.streams] streams to subscribe to. Without any, a member's `order` and `trade`.
   * @param {string | null} [options.cursor] cursor of the last event that was processed earlier; null to start now
   * @param {number} [options.silence] seconds without a sign of life after which a connection is dead
   * @param {"by the proxy"} [options.authenticated] a proxy in front of the gateway adds the token, for example for the
   *   cookie of a page
   * @param {AbortSignal} [options.signal] closes the client
   * @param {boolean | ((message: string) => void)} [options.debug] logs what the client does, without tokens and bodies:
   *   true for `console.debug`, or a function
   * @param {import("./src/websocket.mjs").Connecting["headers"]} [options.headers] additional headers of the handshake, or a
   *   function that returns them for each one; not in browsers. Its errors, and more than 30 s,
   *   mean the same as those of `token`
   * @param {any} [options.agent] an `http.Agent`, for example for a proxy; not in browsers
   * @param {Record<string, unknown>} [options.tls] options of Node's `tls.connect`: `ca`, `cert`, `key`; not in browsers
   * @param {any} [options.WebSocket] another implementation instead of `ws` or the browser's
   * @param {readonly string[]} [options.books] markets whose order books to maintain from the start, as `book` does
   * @param {View["every"]} [options.every] pace and depth of all books for which `book` is called without them
   * @param {View["depth"]} [options.depth]
   * @param {number} [options.longestPause] the longest pause before reconnecting, in seconds, 0.5 at least. A delay that
   *   the gateway asked for is added.
   * @throws {TypeError} the options contradict each other
   */
  constructor(url, options = {}) {
    const { token, streams = [], cursor = null, silence = 60, authenticated, signal, debug, ...rest } = options;
    const { headers, agent, tls, WebSocket, books = [], every, depth, longestPause = LONGEST_PAUSE } = rest;
    if (!(longestPause >= FIRST_PAUSE))
      throw new TypeError(`longestPause has to be ${FIRST_PAUSE} s or more, not ${longestPause}`);
    if (!(silence > 0)) throw new TypeError(`silence has to be more than 0 s, not ${silence}`);
    const view = checkedView({ every, depth });
    const connecting = { headers, agent, tls, WebSocket };
    const byProxy = authenticated === "by the proxy";
    if (authenticated !== undefined && !byProxy)
      throw new TypeError(`authenticated: the only value is "by the proxy", not ${authenticated}`);
    if (byProxy && token !== undefined)
      throw new TypeError("a connection is authenticated by a token or by the proxy, not by both");
    if (typeof token === "string") checked(token, "the token is");
    else if (token !== undefined && typeof token !== "function")
      throw new TypeError(`the token has to be a string or a function, not ${token === null ? "null" : typeof token}`);
    if (hasOptions(connecting) && !isNode())
      throw new TypeError("browsers do not support the options headers, agent and tls");
    if (typeof headers !== "function") checkHeaders(headers);
    const route = new Route(url, streams, byProxy || token !== undefined, books);
    const log = logger(debug);
    const callbacks = this.#callbacks;
    this.#course = new Course({ route, token, byProxy, cursor, view, silence, longestPause, callbacks, connecting, log });
    if (signal?.aborted) this.close();
    signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  /** The cursor of the last processed event; pass it to a later process to resume there. */
  get cursor() {
    return this.#course.cursor;
  }

  /** The state of the connection. */
  get state() {
    return this.#course.state;
  }

  /**
   * Register a callback.
   *
   * @template {keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | `${string}.${string}`} Name
   * @param {Name} name `order`, `trade`, `balances` or `deposit_address` for the member's own events; one of `Callbacks`;
   *   or a stream (`btcusd.trades`) for its events
   * @param {import("./src/callbacks.mjs").CallbackOf<Name>} callback
   * @param {{ signal?: AbortSignal }} [options] `signal` removes the callback
   * @returns {this}
   * @throws {TypeError} there is no such name
   */
  on(name, callback, { signal } = {}) {
    this.#callbacks.add(name, callback, { once: false, signal });
    return this;
  }

  /**
   * Register a callback for one call, as `on` does. It is removed when it has returned, and its promise is settled.
   *
   * @template {keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | `${string}.${string}`} Name
   * @param {Name} name
   * @param {import("./src/callbacks.mjs").CallbackOf<Name>} callback
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {this}
   * @throws {TypeError} there is no such name
   */
  once(name, callback, { signal } = {}) {
    this.#callbacks.add(name, callback, { once: true, signal });
    return this;
  }

  /**
   * Remove a callback; without one, all callbacks of this name. Idempotent.
   *
   * @param {string} name
   * @param {Function} [callback]
   * @returns {this}
   */
  off(name, callback) {
    this.#callbacks.remove(name, callback);
    return this;
  }

  /**
   * Run the callbacks until `close()`.
   *
   * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` if reconnecting would not help, and
   *   with the error of a callback or of the token function
   */
  async run() {
    if (this.#running) throw new Error("the client is already running");
    this.#running = true;
    try {
      while (!(await this.#next()).done);
    } finally {
      this.#running = false;
    }
  }

  /**
   * The events, one after the other. You can leave the loop and continue in another one; nothing is read in between.
   *
   * @returns {AsyncIterator<PeatioEvent, void, undefined>}
   */
  [Symbol.asyncIterator]() {
    return { next: () => this.#next() };
  }

  /**
   * Run the callbacks until the next event.
   *
   * @param {number} [timeout] seconds
   * @returns {Promise<PeatioEvent | undefined>} undefined after `close()`; rejects with a `TimeoutError` if there was no
   *   event in this time. No event is lost: the next call returns it.
   */
  async next(timeout = Infinity) {
    const pending = this.#next();
    pending.catch(() => {}); // reported by the next call, if this one gives up
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((/** @type {(value: null) => void} */ resolve) => {
      if (timeout < Infinity) timer = setTimeout(resolve, milliseconds(timeout), null);
    });
    const result = await Promise.race([pending, late]).finally(() => clearTimeout(timer));
    if (result) return result.value ?? undefined;
    this.#pending = pending;
    throw timedOut(`no event within ${timeout} s`);
  }

  /**
   * Subscribe to more streams, now and after each reconnection.
   *
   * @param {...string} streams
   * @throws {TypeError} a private stream without a token
   */
  subscribe(...streams) {
    this.#course.streams.subscribe(streams);
  }

  /**
   * Unsubscribe from streams, now and after each reconnection.
   *
   * @param {...string} streams
   */
  unsubscribe(...streams) {
    this.#course.streams.unsubscribe(streams);
  }

  /**
   * Maintain the order book of a market, and return it. If the client has it already, change its pace and depth.
   *
   * @param {string} market `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`
   * @param {View} [view] pace and depth; without them, those of the client apply
   * @returns {Book}
   * @throws {TypeError} the gateway has no such pace or depth
   */
  book(market, view = {}) {
    return this.#course.streams.book(market, view);
  }

  /**
   * Send a message to a handler of the gateway, and wait for its answer. Callbacks may call it, too. Events that arrive
   * before the answer follow as usual.
   *
   * @param {string} event name of the handler
   * @param {object} [fields] the other fields of the message
   * @param {{ timeout?: number, signal?: AbortSignal }} [options] `timeout` in seconds
   * @returns {Promise<any>} the answer; rejects with `RequestFailed` if it is an error, with a `TimeoutError`, with the
   *   reason of `signal`, and with an `Error` if there is no connection, or it ended before the answer
   */
  request(event, fields = {}, { timeout = 10, signal } = {}) {
    return this.#course.request(event, fields, { timeout, signal });
  }

  /** End the client, with a closing handshake if it is connected. Idempotent. */
  close() {
    this.#course.close();
  }

  /** @returns {Promise<IteratorResult<PeatioEvent, void>>} */
  #next() {
    const pending = this.#pending ?? this.#advance();
    this.#pending = null;
    return pending;
  }

  async #advance() {
    this.#events ??= this.#course.run();
    try {
      const result = await this.#events.next();
      if (result.done) this.#events = null;
      return result;
    } catch (error) {
      this.#events = null;
      throw error;
    }
  }
}
