// Receives texts with Node's `ws`: arguments are the URL, whether to offer compression, and how many texts to wait for.
// Prints the extensions that were agreed, then each text, a line of JSON each; the last one was sent by itself and echoed.

import { createRequire } from "node:module";

const [url, compressed, count, message] = process.argv.slice(2);
const packages = createRequire(new URL("../../examples/", import.meta.url));
const { WebSocket } = packages("ws");
const perMessageDeflate = compressed === "true" ? { threshold: 0 } : false;
const socket = new WebSocket(url, { perMessageDeflate });
let seen = 0;
socket.on("open", () => {
  console.log(JSON.stringify(socket.extensions));
  if (message) socket.send(message);
});
socket.on("message", (data) => {
  console.log(JSON.stringify(data.toString()));
  if (++seen === Number(count)) socket.close(1000);
});
socket.on("close", (code) => process.exit(code === 1000 ? 0 : 1));
