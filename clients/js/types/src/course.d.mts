import { Streams } from "./streams.mjs";
export type Setting = {
    route: import("./route.mjs").Route;
    token: string | (() => string | Promise<string>) | undefined;
    byProxy: boolean;
    cursor: string | null;
    view: import("./view.mjs").View;
    /**
     * seconds
     */
    silence: number;
    /**
     * seconds
     */
    longestPause: number;
    callbacks: import("./callbacks.mjs").Callbacks;
    connecting: import("./websocket.mjs").Connecting;
    log: (message: string) => void;
};
/**
 * @typedef {object} Setting
 * @property {import("./route.mjs").Route} route
 * @property {string | (() => string | Promise<string>) | undefined} token
 * @property {boolean} byProxy
 * @property {string | null} cursor
 * @property {import("./view.mjs").View} view
 * @property {number} silence seconds
 * @property {number} longestPause seconds
 * @property {import("./callbacks.mjs").Callbacks} callbacks
 * @property {import("./websocket.mjs").Connecting} connecting
 * @property {(message: string) => void} log
 */
export declare class Course {
    #private;
    /** @type {string | null} */
    cursor: string | null;
    /** @type {"disconnected" | "connecting" | "connected" | "closed"} */
    state: "disconnected" | "connecting" | "connected" | "closed";
    /** The streams that the client wants. @type {Streams} */
    streams: Streams;
    /** @param {Setting} setting */
    constructor(setting: Setting);
    /** @param {string} event @param {object} fields @param {{ timeout: number, signal?: AbortSignal }} options */
    request(event: string, fields: object, options: {
        timeout: number;
        signal?: AbortSignal;
    }): Promise<any>;
    close(): void;
    /** @returns {AsyncGenerator<import("../peatio-client.mjs").PeatioEvent, void, undefined>} */
    run(): AsyncGenerator<import("../peatio-client.mjs").PeatioEvent, void, undefined>;
}
