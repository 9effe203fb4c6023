/**
 * A client for the Peatio WebSocket gateway that loses no fill: it reconnects and resumes. For browsers, and for
 * Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run(); // or: for await (const event of client) …
 *
 * A single file. In Node it uses the package `ws`, in browsers their WebSocket. README.md lists the guarantees.
 */
/** Reconnecting would not help. A `token` function may throw it to end the client. */
export declare class Refused extends Error {
}
import type { BodyOf } from "./channels.mjs";
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
};
export type Disconnected = {
    /**
     * the close code; 1006 if the connection ended without one; an HTTP status where it is known
     */
    code: number;
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
     * events may be missing; continues at this cursor
     */
    gap: (gap: {
        cursor: string | null;
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
     * an error text of the gateway, or why there is no token
     */
    error: (message: string) => unknown;
};
export type Level = [price: string, volume: string];
/**
 * The order book of a market, from a snapshot and increments, checked by their `sequence`. `PeatioClient.book()`
 * creates and maintains it.
 */
export declare class Book {
    #private;
    /** Name of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
    name: string;
    /**
     * Whether the book is correct. False before the first snapshot, and after a gap in the sequence or the end of a
     * connection until the next snapshot. The last state can still be read in the meantime.
     */
    current: boolean;
    /** Number of the last change; null if the publisher does not number changes. @type {number | null} */
    sequence: number | null;
    /** @param {string} name */
    constructor(name: string);
    /** The asks, best first (ascending). @returns {Level[]} */
    get asks(): Level[];
    /** The bids, best first (descending). @returns {Level[]} */
    get bids(): Level[];
    /** The lowest ask; undefined if there are no asks. @returns {Level | undefined} */
    get bestAsk(): Level | undefined;
    /** The highest bid; undefined if there are no bids. @returns {Level | undefined} */
    get bestBid(): Level | undefined;
    /**
     * Apply the body of a frame.
     *
     * @param {"snap" | "inc"} kind
     * @param {any} body
     * @returns {"changed" | "ignored" | "hole"} `ignored`: the book already contains it; `hole`: increments are missing,
     *   and a new snapshot is needed
     * @throws {TypeError} the body is not a book; nothing was changed
     */
    take(kind: "snap" | "inc", body: any): "changed" | "ignored" | "hole";
}
export type Decimal = {
    units: bigint;
    scale: number;
    about: number;
};
export type Step = {
    say: string;
} | {
    live: string[];
} | {
    place: Place;
} | {
    event: PeatioEvent;
} | {
    notice: any;
} | {
    complaint: string;
    refused: boolean;
    postponed: boolean;
} | {
    renewed: true;
};
export type Place = {
    cursor: string | null;
    complete: boolean;
};
/**
 * Whether an event is of a stream; TypeScript then knows its body.
 *
 * @template {string} Name
 * @param {PeatioEvent} event
 * @param {Name} stream
 * @returns {event is PeatioEvent<BodyOf<Name>>}
 */
export declare function isOf<Name extends string>(event: PeatioEvent, stream: Name): event is PeatioEvent<BodyOf<Name>>;
/** A client that receives a member's orders and trades, and streams, and reconnects by itself. */
export declare class PeatioClient {
    #private;
    /** The cursor of the last processed event; pass it to a later process to resume there. @type {string | null} */
    cursor: string | null;
    /** The state of the connection. @type {"disconnected" | "connecting" | "connected" | "closed"} */
    state: "disconnected" | "connecting" | "connected" | "closed";
    /**
     * @param {string} url address of the gateway
     * @param {object} [options]
     * @param {() => string | Promise<string>} [options.token] returns the session token, a fresh one if possible.
     *   The client calls it for each connection and before the token expires. An error is reported as "error", and the
     *   client calls it again later, except for `Refused`. Omit it for public streams only.
     * @param {string[]} [options.streams] streams to subscribe to, private ones (`order`, `trade`) too. With streams the
     *   client uses Ranger's protocol; without, the classic one, with all orders and trades of the member.
     * @param {string | null} [options.cursor] cursor of the last event that was processed earlier; null to start now
     * @param {number} [options.silence] seconds without a sign of life after which a connection is dead
     * @param {any} [options.WebSocket] another implementation instead of `ws` or the browser's
     * @throws {TypeError} the options contradict each other
     */
    constructor(url: string, { token, streams, cursor, silence, WebSocket }?: {
        token?: () => string | Promise<string>;
        streams?: string[];
        cursor?: string | null;
        silence?: number;
        WebSocket?: any;
    });
    /**
     * Register a callback.
     *
     * @template {keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | (string & {})} Name
     * @param {Name} name `order`, `trade`, `balances` or `deposit_address` for the member's own events; one of `Callbacks`;
     *   or a stream (`btcusd.trades`) for its events
     * @param {Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent<BodyOf<Name>>) => unknown} callback
     * @returns {this}
     * @throws {TypeError} there is no such name
     */
    on<Name extends keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | (string & {})>(name: Name, callback: Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent<BodyOf<Name>>) => unknown): this;
    /**
     * Run the callbacks until `close()`.
     *
     * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` if reconnecting would not help, and
     *   with the error of a callback
     */
    run(): Promise<void>;
    /**
     * The events, one after the other. You can leave the loop and continue in another one; nothing is read meanwhile.
     *
     * @returns {AsyncIterator<PeatioEvent, void, undefined>}
     */
    [Symbol.asyncIterator](): AsyncIterator<PeatioEvent, void, undefined>;
    /**
     * Subscribe to more streams, now and after each reconnection.
     *
     * @param {...string} streams
     * @throws {TypeError} a private stream without a token, or in the classic protocol
     */
    subscribe(...streams: string[]): void;
    /**
     * Unsubscribe from streams, now and after each reconnection.
     *
     * @param {...string} streams
     */
    unsubscribe(...streams: string[]): void;
    /**
     * Maintain the order book of a market, and return it.
     *
     * @param {string} market `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`
     */
    book(market: string): Book;
    /** End the client, with a closing handshake if it is connected. Idempotent. */
    close(): void;
}
