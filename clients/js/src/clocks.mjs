/** A monotonic clock, in seconds. */
export function now() {
  return performance.now() / 1000;
}

/** The longest time of a timer, in milliseconds. A timer with a longer one fires at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** Unix time. */
export function wall() {
  return Date.now() / 1000;
}
