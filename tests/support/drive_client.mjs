// Runs `clients/js/peatio-client.mjs` as its second argument says (JSON) and prints what it is told, a line of JSON each.
// The first says whose WebSocket it takes: `ws`, the package's, or `global`.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout } from "node:timers/promises";
import { PeatioClient, Refused } from "../../clients/js/peatio-client.mjs";

const { url, tokens, until, notices, hold, again, ...given } = JSON.parse(process.argv[3]);
const packages = createRequire(new URL("../../examples/", import.meta.url));
const WebSocket = process.argv[2] === "ws" ? packages("ws").WebSocket : globalThis.WebSocket;
let { stumble } = given;
const tell = (name, what) => console.log(JSON.stringify([name, what]));
const token = tokens && (async () => (tokens.length > 1 ? tokens.shift() : tokens[0]));

const client = new PeatioClient(url, { token, WebSocket, ...given })
  .on(given.on ?? "order", async ({ data }) => {
    while (hold && !existsSync(hold)) await setTimeout(50); // as slow callbacks would
    if (stumble === data.id) {
      stumble = undefined;
      throw new RangeError("stumbled");
    }
    tell("event", data.id);
    if (until === data.id) client.close();
  })
  .on("gap", ({ cursor }) => tell("gap", cursor))
  .on("resumed", ({ complete }) => tell("resumed", complete))
  .on("missed", ({ stream }) => tell("missed", stream))
  .on("connected", ({ streams }) => tell("connected", streams))
  .on("disconnected", ({ code, reason, pause }) => tell("disconnected", [code, reason, pause]))
  .on("error", (message) => tell("error", message))
  .on("book", ({ sequence, asks, bids }) => tell("book", [sequence, asks, bids]))
  .on("stale", ({ sequence, asks, bids }) => tell("stale", [sequence, asks, bids]));
if (notices) client.on("notice", (notice) => tell("notice", notice));
if (again) client.on("book", ({ name, sequence }) => sequence === again.at && client.book(name, again.view));
while (client.state !== "closed") {
  try {
    await client.run();
  } catch (error) {
    tell(error instanceof Refused ? "refused" : "raised", error.message);
    if (error instanceof Refused) break;
  }
}
tell("ended", client.state);
