/** A monotonic clock, in seconds. */
export declare function now(): number;
/** A time for a timer, which would fire at once if it were longer than 2^31 - 1 ms. @param {number} seconds */
export declare function milliseconds(seconds: number): number;
/** Unix time. */
export declare function wall(): number;
