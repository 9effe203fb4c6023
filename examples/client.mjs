// Print a member's orders and trades, one line of JSON each; reconnect as needed. In Node 20.19 or later, with `make run`:
//
//     (cd examples && npm ci)
//     JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 node examples/client.mjs ws://127.0.0.1:8080/ IDDEMO000001
//
// URL and UID can also be set in the environment (UID with `env`, because it is read-only in bash), like the settings of
// the token (`session-token.mjs`). The package `peatio-client` (`clients/js`) reconnects and resumes; web pages can use
// it unchanged.

import process, { argv, env } from "node:process";
import { PeatioClient } from "peatio-client";
import { show } from "./output.mjs";
import { tokenMaker } from "./session-token.mjs";

const url = argv[2] ?? env.URL ?? "ws://127.0.0.1:8080/";
const uid = argv[3] ?? env.UID ?? "IDDEMO000001";

try {
  const client = new PeatioClient(url, { token: tokenMaker(uid) })
    .on("event", ({ text }) => show(text))
    .on("gap", () => console.error("events may be missing: a real client would read its state over REST now"))
    .on("connected", () => console.error("connected"))
    .on("disconnected", ({ code, reason, pause }) =>
      console.error(`closed: ${code} ${reason}; ${pause === null ? "giving up" : `back in ${pause.toFixed(1)} s`}`),
    )
    .on("error", (message) => console.error(message));
  process.once("SIGINT", () => client.close());
  await client.run();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
