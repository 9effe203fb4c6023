// Print lines. When nothing reads them any more, as after `| head`, end the program.

import process from "node:process";

process.stdout.on("error", () => process.exit()); // console.log ignores it

/** @param {...unknown} words */
export function show(...words) {
  console.log(...words);
}
