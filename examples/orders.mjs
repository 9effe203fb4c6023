// Keep the states of a member's orders correct across disconnections. Environment: URL of the gateway, UID, ORDERS_URL
// (Peatio's `…/market/orders`, read at the start and after a gap), and the variables of `session-token.mjs`.
// With `make run`:
//
//     (cd examples && npm ci)
//     env URL=ws://127.0.0.1:8080/ UID=IDDEMO000001 MEMBER_ID=1001 JWT_PRIVATE_KEY="$(cat .run/private.pem)" \
//         ORDERS_URL=http://127.0.0.1:8080/api/v2/market/orders node examples/orders.mjs
import { env } from "node:process";
import { setTimeout } from "node:timers/promises";
import { PeatioClient } from "peatio-client";
import { show } from "./output.mjs";
import { tokenMaker } from "./session-token.mjs";

const orders = {}, token = tokenMaker(env.UID);
async function readAll() {
  const headers = { Authorization: `Bearer ${token()}` };
  const found = await fetch(env.ORDERS_URL, { headers }).then((answer) => answer.ok && answer.json()).catch(() => null);
  if (!found) return setTimeout(1000).then(readAll);
  for (const { id, state } of found) orders[id] = state;
}
const client = new PeatioClient(env.URL, { token }).once("connected", readAll).on("gap", readAll);
client.on("order", ({ data }) => (orders[data.id] = data.state));
for await (const _ of client) show(JSON.stringify(orders));
