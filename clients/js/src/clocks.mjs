/** A monotonic clock, in seconds. */
export function now() {
  return performance.now() / 1000;
}

/** Unix time. */
export function wall() {
  return Date.now() / 1000;
}
