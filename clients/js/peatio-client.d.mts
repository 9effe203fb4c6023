/**
 * A client for the gateway that loses no fill: it comes back after a lost line, and goes on where it was. For browsers,
 * and for Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run();
 *
 * One file; in Node 20 it needs the package `ws`, later and in browsers nothing. A page's origin has to be among the
 * gateway's API_CORS_ORIGINS.
 *
 * *What is promised.* Every private event is handed over once, in order, however often the line is cut: the client
 * keeps the cursor of the last one, and the gateway sends what followed. An event counts as taken once every callback
 * for it has returned; promises are not waited for, because a WebSocket cannot be told to wait. If a callback throws,
 * `run()` rejects with that, and the event comes again with the next `run()`. Where the gateway cannot promise that
 * nothing is missing, "gap" is called before anything newer: read orders and trades over REST then. Public streams are
 * not resumed; a book begins anew with its snapshot.
 *
 * *A dead line* is noticed within a minute, where it can be asked: in Node by `ws`'s pings, elsewhere by Ranger's
 * `ping`, that is, where `streams` are given. The classic protocol has nothing to ask with, and pages do not see the
 * gateway's pings: there it takes until the browser finds out. A page that cares asks for
 * `streams: ["order", "trade"]`.
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
    order: (event: PeatioEvent) => void;
    trade: (event: PeatioEvent) => void;
    /**
     * every event, whatever its stream
     */
    event: (event: PeatioEvent) => void;
    /**
     * something may be missing; where it goes on from
     */
    gap: (gap: {
        cursor: string | null;
    }) => void;
    /**
     * authenticated and subscribed
     */
    connected: (live: {
        streams: string[];
    }) => void;
    disconnected: (end: Disconnected) => void;
    /**
     * what the gateway complained of
     */
    error: (message: string) => void;
};
export type Ending = {
    code: number;
    reason: string;
    /**
     * seconds
     */
    asked?: number;
    /**
     * by a callback
     */
    thrown?: {
        error: unknown;
    };
};
/**
 * Something that happened.
 *
 * @typedef {object} PeatioEvent
 * @property {string} stream `order` or `trade` for what is the member's own, else the stream's name
 * @property {any} data its body
 * @property {string | null} cursor where the client is behind it; null for public streams
 * @property {string} text the frame as it came, for those who need every digit of a number
 */
/**
 * A connection that ended, or did not come about.
 *
 * @typedef {object} Disconnected
 * @property {number} code the close code; 1006 if nobody said; an HTTP status where it can be seen
 * @property {string} reason
 * @property {number | null} pause seconds until the next attempt; null if there is none
 */
/**
 * @typedef {object} Callbacks
 * @property {(event: PeatioEvent) => void} order
 * @property {(event: PeatioEvent) => void} trade
 * @property {(event: PeatioEvent) => void} event every event, whatever its stream
 * @property {(gap: { cursor: string | null }) => void} gap something may be missing; where it goes on from
 * @property {(live: { streams: string[] }) => void} connected authenticated and subscribed
 * @property {(end: Disconnected) => void} disconnected
 * @property {(message: string) => void} error what the gateway complained of
 */
/**
 * How a connection ended.
 *
 * @typedef {object} Ending
 * @property {number} code
 * @property {string} reason
 * @property {number} [asked] seconds
 * @property {{ error: unknown }} [thrown] by a callback
 */
/** A member's orders and trades, and streams, over as many connections as it takes. */
export declare class PeatioClient {
    #private;
    /** Of the last event taken. @type {string | null} */
    cursor: string | null;
    /** What it is about. @type {"disconnected" | "connecting" | "connected" | "closed"} */
    state: "disconnected" | "connecting" | "connected" | "closed";
    /**
     * @param {string} url of the gateway
     * @param {object} [options]
     * @param {() => string | Promise<string>} [options.token] called for each connection; gives the session's token, a
     *   fresh one if it can. What it throws is told as an "error" and it is asked again later, but for `Refused`. None for
     *   public streams only.
     * @param {string[]} [options.streams] to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol
     *   is spoken. Without any it is the classic one, with all orders and trades of the member.
     * @param {string | null} [options.cursor] of the last event that was taken earlier; null to begin now
     * @param {number} [options.silence] seconds without a sign of life after which a line is dead
     * @param {any} [options.WebSocket] instead of the global one, or `ws`
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
     * @template {keyof Callbacks} Name
     * @param {Name} name
     * @param {Callbacks[Name]} callback
     * @returns {this}
     */
    on<Name extends keyof Callbacks>(name: Name, callback: Callbacks[Name]): this;
    /**
     * Serve the callbacks.
     *
     * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` where coming back would not help, and
     *   with what a callback threw
     */
    run(): Promise<void>;
    /** End it, with a closing handshake where there is a connection; harmless a second time. */
    close(): void;
}
