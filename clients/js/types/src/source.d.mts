/** @template Result */
export declare class Source<Result> {
    #private;
    /** Settles with the running call. @type {Promise<void> | null} */
    asked: Promise<void> | null;
    /**
     * @param {() => Promise<Result>} give the function; its result is not undefined
     * @param {() => void} [arrived] called when there is a result
     */
    constructor(give: () => Promise<Result>, arrived?: () => void);
    /** Whether there is a result that was not taken. */
    get has(): boolean;
    /** Call the function, unless a call runs or has a result. */
    ask(): void;
    /** The result; undefined if there is none yet. Throws the error of the function. */
    take(): Result | undefined;
}
