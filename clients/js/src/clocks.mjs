/** A monotonic clock, in seconds. */
export function now() {
  return performance.now() / 1000;
}

/** A time for a timer, which would fire at once if it were longer than 2^31 - 1 ms. @param {number} seconds */
export function milliseconds(seconds) {
  return Math.min(seconds * 1000, 2 ** 31 - 1);
}

/** Unix time. */
export function wall() {
  return Date.now() / 1000;
}
