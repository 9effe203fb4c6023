/** A monotonic clock, in seconds. */
export declare function now(): number;
/** Unix time. */
export declare function wall(): number;
