import { Requests } from "./requests.mjs";
export declare class Line {
    #private;
    /** Requests to handlers on this connection. */
    requests: Requests;
    /**
     * @param {any} socket
     * @param {{ address: string, silence: number, origin?: string, byProxy?: boolean }} options `silence` in seconds;
     *   `origin`: of the request; `byProxy`: whether a proxy authenticates the client
     */
    constructor(socket: any, { address, silence, origin, byProxy }: {
        address: string;
        silence: number;
        origin?: string;
        byProxy?: boolean;
    });
    /** Resolves when the connection is open. */
    open(): Promise<void>;
    /**
     * The next frame.
     *
     * @param {number} seconds
     * @returns {Promise<string | null>} null after `seconds`, or earlier
     */
    receive(seconds: number): Promise<string | null>;
    /** Whether messages can be sent; `receive` may still return frames of a connection that has ended. */
    get isOpen(): boolean;
    /** Make `receive` return without a frame. */
    nudge(): void;
    /** @param {string} text */
    say(text: string): void;
    /**
     * Send a message to a handler, and wait for its answer. Frames are read in the meantime.
     *
     * @param {() => number} turn as for `Requests.ask`
     * @param {string} event
     * @param {object} fields
     * @param {{ timeout: number, signal?: AbortSignal }} options
     * @returns {Promise<any>}
     */
    request(turn: () => number, event: string, fields: object, options: {
        timeout: number;
        signal?: AbortSignal;
    }): Promise<any>;
    /** Check soon whether the connection still works, because the page was away. */
    check(): void;
    /** Close with a closing handshake; drop waiting frames. */
    close(): void;
    /** The peer may be gone, so do not wait for its close frame. @param {string} reason */
    abandon(reason: string): void;
}
