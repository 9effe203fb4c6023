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
export { Book };
export { NoToken, Refused, RequestFailed } from "./src/errors.mjs";
import type { BodyOf } from "./channels.mjs";
export type Level = import("./src/book.mjs").Level;
export type View = import("./src/view.mjs").View;
export type PeatioEvent<Data = any> = {
    /**
     * `order` or `trade` for the member's own events, otherwise the name of the stream
     */
    stream: string;
    /**
     * the body
     */
    data: Data;
    /**
     * the position after this event, for resuming; null for public streams
     */
    cursor: string | null;
    /**
     * the frame as received, with every digit of its numbers
     */
    text: string;
    /**
     * the position after this event in a public stream of trades; null for other streams
     */
    mark: string | null;
};
export type Disconnected = {
    /**
     * the close code; 1006 if the connection ended without one; an HTTP status where it is known
     */
    code: number;
    /**
     * what is wrong; browsers do not report why a connection could not be opened
     */
    reason: string;
    /**
     * seconds until the next attempt; null if the client makes no further attempt
     */
    pause: number | null;
};
export type Callbacks = {
    /**
     * every event, whatever its stream
     */
    event: (event: PeatioEvent) => unknown;
    /**
     * a maintained book changed
     */
    book: (book: Book) => unknown;
    /**
     * a maintained book is no longer correct
     */
    stale: (book: Book) => unknown;
    /**
     * private events may be missing; continues at this cursor
     */
    gap: (gap: {
        cursor: string | null;
    }) => unknown;
    /**
     * public trades may be missing
     */
    missed: (missed: {
        stream: string;
    }) => unknown;
    /**
     * the missed events were received after a reconnection;
     * `complete`: whether no private event is missing
     */
    resumed: (end: {
        complete: boolean;
    }) => unknown;
    /**
     * a message of an operator; requested from the next connection on
     */
    notice: (notice: any) => unknown;
    /**
     * authenticated and subscribed
     */
    connected: (live: {
        streams: string[];
    }) => unknown;
    disconnected: (end: Disconnected) => unknown;
    /**
     * an error text of the gateway, why there is no token, or
     * that an order book has not come
     */
    error: (message: string) => unknown;
};
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
export declare function isOf<Name extends string>(event: PeatioEvent, stream: Name): event is PeatioEvent<BodyOf<Name>>;
/** A client that receives a member's orders and trades and any other streams, and reconnects by itself. */
export declare class PeatioClient {
    #private;
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
    constructor(url: string, options?: {
        token?: string | (() => string | Promise<string>);
        streams?: readonly string[];
        cursor?: string | null;
        silence?: number;
        authenticated?: "by the proxy";
        signal?: AbortSignal;
        debug?: boolean | ((message: string) => void);
        headers?: import("./src/websocket.mjs").Connecting["headers"];
        agent?: any;
        tls?: Record<string, unknown>;
        WebSocket?: any;
        books?: readonly string[];
        every?: View["every"];
        depth?: View["depth"];
        longestPause?: number;
    });
    /** The cursor of the last processed event; pass it to a later process to resume there. */
    get cursor(): string | null;
    /** The state of the connection. */
    get state(): "closed" | "connected" | "connecting" | "disconnected";
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
    on<Name extends keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | `${string}.${string}`>(name: Name, callback: import("./src/callbacks.mjs").CallbackOf<Name>, { signal }?: {
        signal?: AbortSignal;
    }): this;
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
    once<Name extends keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | `${string}.${string}`>(name: Name, callback: import("./src/callbacks.mjs").CallbackOf<Name>, { signal }?: {
        signal?: AbortSignal;
    }): this;
    /**
     * Remove a callback; without one, all callbacks of this name. Idempotent.
     *
     * @param {string} name
     * @param {Function} [callback]
     * @returns {this}
     */
    off(name: string, callback?: Function): this;
    /**
     * Run the callbacks until `close()`.
     *
     * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` if reconnecting would not help, and
     *   with the error of a callback or of the token function
     */
    run(): Promise<void>;
    /**
     * The events, one after the other. You can leave the loop and continue in another one; nothing is read in between.
     *
     * @returns {AsyncIterator<PeatioEvent, void, undefined>}
     */
    [Symbol.asyncIterator](): AsyncIterator<PeatioEvent, void, undefined>;
    /**
     * Run the callbacks until the next event.
     *
     * @param {number} [timeout] seconds
     * @returns {Promise<PeatioEvent | undefined>} undefined after `close()`; rejects with a `TimeoutError` if there was no
     *   event in this time. No event is lost: the next call returns it.
     */
    next(timeout?: number): Promise<PeatioEvent | undefined>;
    /**
     * Subscribe to more streams, now and after each reconnection.
     *
     * @param {...string} streams
     * @throws {TypeError} a private stream without a token
     */
    subscribe(...streams: string[]): void;
    /**
     * Unsubscribe from streams, now and after each reconnection.
     *
     * @param {...string} streams
     */
    unsubscribe(...streams: string[]): void;
    /**
     * Maintain the order book of a market, and return it. If the client has it already, change its pace and depth.
     *
     * @param {string} market `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`
     * @param {View} [view] pace and depth; without them, those of the client apply
     * @returns {Book}
     * @throws {TypeError} the gateway has no such pace or depth
     */
    book(market: string, view?: View): Book;
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
    request(event: string, fields?: object, { timeout, signal }?: {
        timeout?: number;
        signal?: AbortSignal;
    }): Promise<any>;
    /** End the client, with a closing handshake if it is connected. Idempotent. */
    close(): void;
}
