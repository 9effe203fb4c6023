export declare class TokenSource {
    #private;
    /** Settles with the running call. @type {Promise<void> | null} */
    asked: Promise<void> | null;
    /**
     * @param {string | (() => string | Promise<string>)} token the token, or the function
     * @param {() => void} arrived called when there is a result
     */
    constructor(token: string | (() => string | Promise<string>), arrived: () => void);
    /** Whether there is a result that was not taken. */
    get has(): boolean;
    /** Call the function, unless a call runs or has a result. */
    ask(): void;
    /** The result: a token, undefined if there is none yet. Throws the error of the function. */
    take(): string | undefined;
}
