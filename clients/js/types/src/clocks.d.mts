/** A monotonic clock, in seconds. */
export declare function now(): number;
/** The longest time of a timer, in milliseconds. A timer with a longer one fires at once. */
export declare const LONGEST_TIMER: number;
/** Unix time. */
export declare function wall(): number;
