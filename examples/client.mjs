// Prints a member's orders and trades, a line of JSON each, over as many connections as it takes. In Node 20 or later,
// against `make run`:
//
//     (cd examples && npm ci)
//     JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 node examples/client.mjs [URL [UID]]
//
// URL and UID may come from the environment too, and more about the token (`session-token.mjs`). What it takes to come
// back and lose nothing is in the package `peatio-client` (`clients/js`), which pages use as it is.

import process, { argv, env } from "node:process";
import { PeatioClient } from "peatio-client";
import { tokenMaker } from "./session-token.mjs";

const url = argv[2] ?? env.URL ?? "ws://127.0.0.1:8080/";
const uid = argv[3] ?? env.UID ?? "IDDEMO000001";

try {
  const client = new PeatioClient(url, { token: tokenMaker(uid) })
    .on("event", ({ text }) => console.log(text))
    .on("gap", () => console.error("something may be missing: now would be the time to ask over REST"))
    .on("connected", () => console.error("connected"))
    .on("disconnected", ({ code, reason, pause }) =>
      console.error(`closed: ${code} ${reason}; ${pause === null ? "not again" : `back in ${pause.toFixed(1)} s`}`),
    )
    .on("error", (message) => console.error(message));
  process.once("SIGINT", () => client.close());
  await client.run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
