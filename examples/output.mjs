// Print lines. If the reader has closed the pipe, as `| head` does, exit without a stack trace.

import process from "node:process";

process.stdout.on("error", () => process.exit()); // otherwise Node ends with an unhandled error

/** @param {...unknown} words */
export function show(...words) {
  console.log(...words);
}
