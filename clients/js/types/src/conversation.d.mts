import { Trades } from "./trades.mjs";
/** The streams of a client that names none. */
export declare const PRIVATE: string[];
export declare const NOT_BY_THE_PROXY = "the proxy did not authenticate the connection; log in again, so that it sends a valid cookie, or sign each handshake with a valid API key";
export type Step = {
    say: string;
} | {
    live: string[];
} | {
    place: Place;
} | {
    event: import("../peatio-client.mjs").PeatioEvent;
} | {
    missed: string;
} | {
    resumed: {
        complete: boolean;
    };
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
export type Wishes = {
    streams: string[];
    token: string | null;
    byProxy: boolean;
    cursor: string | null;
    notices: boolean;
    trades?: Trades;
};
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
export declare class Conversation {
    #private;
    /** Streams that were requested from the gateway. @type {Set<string>} */
    asked: Set<string>;
    /** The address to connect to. @type {string} */
    address: string;
    /** Whether the client waits for the answer to a fresh token. */
    renewing: boolean;
    /** @param {string} url without streams @param {Wishes} wishes */
    constructor(url: string, { streams, token, byProxy, cursor, notices, trades }: Wishes);
    /** Whether the connection is authenticated and subscribed. */
    get live(): boolean;
    /** The message that subscribes to these streams. @param {string[]} streams */
    subscribe(streams: string[]): string;
    /** @param {string[]} streams */
    unsubscribe(streams: string[]): string;
    /** The message that sends a fresh token. @param {string} token */
    renew(token: string): string;
    /**
     * @param {string} text
     * @returns {Step[]}
     */
    take(text: string): Step[];
}
/** @param {string} stream */
export declare function isPublic(stream: string): boolean;
