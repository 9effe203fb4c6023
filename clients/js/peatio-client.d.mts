/**
 * A client for the Peatio WebSocket gateway that loses no fill: it comes back after a lost line, and goes on where it
 * was. For browsers, and for Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run(); // or: for await (const event of client) …
 *
 * One file; in Node it takes the package `ws`, in browsers what they have. README.md says what is promised.
 */
/** Coming back would not help. A `token` function may throw it, too, to end the client. */
export declare class Refused extends Error {
}
export type PeatioEvent = {
    /**
     * `order` or `trade` for what is the member's own, else the stream's name
     */
    stream: string;
    /**
     * its body
     */
    data: any;
    /**
     * where the client is behind it; null for public streams
     */
    cursor: string | null;
    /**
     * the frame as it came, for those who need every digit of a number
     */
    text: string;
};
export type Disconnected = {
    /**
     * the close code; 1006 if nobody said; an HTTP status where it can be seen
     */
    code: number;
    reason: string;
    /**
     * seconds until the next attempt; null if there is none
     */
    pause: number | null;
};
export type Callbacks = {
    order: (event: PeatioEvent) => unknown;
    trade: (event: PeatioEvent) => unknown;
    /**
     * every event, whatever its stream
     */
    event: (event: PeatioEvent) => unknown;
    /**
     * a kept book has changed
     */
    book: (book: Book) => unknown;
    /**
     * a kept book is not right any more
     */
    stale: (book: Book) => unknown;
    /**
     * something may be missing; where it goes on from
     */
    gap: (gap: {
        cursor: string | null;
    }) => unknown;
    /**
     * what operators say; asked for from the next connection on
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
     * what the gateway complained of
     */
    error: (message: string) => unknown;
};
export type Level = [price: string, volume: string];
/**
 * What is on offer in a market, kept from its snapshot and increments and checked by their `sequence`.
 * `PeatioClient.book()` makes one and keeps it.
 */
export declare class Book {
    #private;
    /** Of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
    name: string;
    /**
     * Whether it is right. Not before the first snapshot, nor after a hole in the sequence or the end of a connection
     * until the next one. What was in it can be read meanwhile.
     */
    current: boolean;
    /** That of the last change; null if the publisher does not number them. @type {number | null} */
    sequence: number | null;
    /** @param {string} name */
    constructor(name: string);
    /** Best first: ascending. @returns {Level[]} */
    get asks(): Level[];
    /** Best first: descending. @returns {Level[]} */
    get bids(): Level[];
    /** Undefined if nobody sells. @returns {Level | undefined} */
    get bestAsk(): Level | undefined;
    /** Undefined if nobody buys. @returns {Level | undefined} */
    get bestBid(): Level | undefined;
    /**
     * Take what a frame says.
     *
     * @param {"snap" | "inc"} kind
     * @param {any} body
     * @returns {"changed" | "ignored" | "hole"} `ignored` is in the book already; with a `hole` something is missing, and
     *   a new snapshot is needed
     * @throws {TypeError} it is no book; nothing was changed
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
/** A member's orders and trades, and streams, over as many connections as it takes. */
export declare class PeatioClient {
    #private;
    /** Of the last event taken: what a later process needs to go on. @type {string | null} */
    cursor: string | null;
    /** What it is about. @type {"disconnected" | "connecting" | "connected" | "closed"} */
    state: "disconnected" | "connecting" | "connected" | "closed";
    /**
     * @param {string} url of the gateway
     * @param {object} [options]
     * @param {() => string | Promise<string>} [options.token] called for each connection, and before the token runs out;
     *   gives the session's token, a fresh one if it can. What it throws is told as an "error" and it is asked again
     *   later, but for `Refused`. None for public streams only.
     * @param {string[]} [options.streams] to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol
     *   is spoken. Without any it is the classic one, with all orders and trades of the member.
     * @param {string | null} [options.cursor] of the last event that was taken earlier; null to begin now
     * @param {number} [options.silence] seconds without a sign of life after which a line is dead
     * @param {any} [options.WebSocket] instead of `ws` or the browser's
     * @throws {TypeError} these cannot work together
     */
    constructor(url: string, { token, streams, cursor, silence, WebSocket }?: {
        token?: () => string | Promise<string>;
        streams?: string[];
        cursor?: string | null;
        silence?: number;
        WebSocket?: any;
    });
    /**
     * Have a callback called.
     *
     * @template {keyof Callbacks | (string & {})} Name
     * @param {Name} name one of `Callbacks`, or a stream's (`btcusd.trades`) for its events
     * @param {Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent) => unknown} callback
     * @returns {this}
     * @throws {TypeError} nothing is called so
     */
    on<Name extends keyof Callbacks | (string & {})>(name: Name, callback: Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent) => unknown): this;
    /**
     * Serve the callbacks.
     *
     * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` where coming back would not help, and
     *   with what a callback threw
     */
    run(): Promise<void>;
    /**
     * Events, one after the other. A loop may be left, and another one goes on where it was; nothing is read meanwhile.
     *
     * @returns {AsyncIterator<PeatioEvent, void, undefined>}
     */
    [Symbol.asyncIterator](): AsyncIterator<PeatioEvent, void, undefined>;
    /**
     * More streams, now and after each return.
     *
     * @param {...string} streams
     * @throws {TypeError} private ones without a token, or in the classic protocol
     */
    subscribe(...streams: string[]): void;
    /**
     * Fewer of them.
     *
     * @param {...string} streams
     */
    unsubscribe(...streams: string[]): void;
    /**
     * Have a market's book kept.
     *
     * @param {string} market `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`
     */
    book(market: string): Book;
    /** End it, with a closing handshake where there is a connection; harmless a second time. */
    close(): void;
}
