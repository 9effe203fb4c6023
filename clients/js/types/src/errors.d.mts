/** Reconnecting would not help; the message says why. */
export declare class Refused extends Error {
    name: string;
}
/**
 * No token is available now. A `token` function throws it, so that the client asks again later; any other error that it
 * throws ends the client.
 */
export declare class NoToken extends Error {
    name: string;
}
/** The gateway answered a request with an error; the message is the gateway's. */
export declare class RequestFailed extends Error {
    name: string;
}
export declare const LOST = 1006;
export declare const UNAUTHORIZED = 401;
export declare const TOO_FAST = 1008;
export declare const NO_RETURN: number[];
export declare const NEW_TOKEN: number[];
export declare const FIRST_PAUSE = 0.5;
export declare const LONGEST_PAUSE = 30;
/** How a connection ended. Thrown only by code that talks to the gateway, never by a callback. */
export declare class Ended extends Error {
    code: number;
    reason: string;
    asked: number;
    /** @param {number} code @param {string} reason @param {number} [asked] seconds */
    constructor(code: number, reason: string, asked?: number);
}
/**
 * The pauses before reconnecting: they grow, with full jitter, so that many clients that were disconnected at the same
 * time do not reconnect at the same time. They are added to the delay that the gateway asked for.
 */
export declare class Pauses {
    #private;
    /** @param {number} longest seconds, without the delay that the gateway asked for */
    constructor(longest: number);
    /** Start from the beginning if a connection lasted long enough. @param {number} seconds */
    connected(seconds: number): void;
    /** Start from the beginning. */
    reset(): void;
    /**
     * The next pause.
     *
     * @param {Ended} ended
     * @returns {{ pause: number, asked: number }} seconds; `asked` is the part that the gateway asked for
     */
    after({ code, asked }: Ended): {
        pause: number;
        asked: number;
    };
}
/** A timeout that passed, as `AbortSignal.timeout` reports it. @param {string} message */
export declare function timedOut(message: string): DOMException;
