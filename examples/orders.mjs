// A member's orders, kept right whatever happens to the line. Environment: URL of the gateway, UID, ORDERS_URL (where
// orders are read once, and after a gap: Peatio's `…/market/orders`), and what `session-token.mjs` says.
import { env } from "node:process";
import { PeatioClient } from "peatio-client";
import { tokenMaker } from "./session-token.mjs";

const orders = {}, token = tokenMaker(env.UID);
async function readAll() {
  const answer = await fetch(env.ORDERS_URL, { headers: { Authorization: `Bearer ${token()}` } });
  for (const { id, state } of await answer.json()) orders[id] = state;
}
const client = new PeatioClient(env.URL, { token });
client.on("connected", () => Object.keys(orders).length || readAll()).on("gap", readAll);
client.on("order", ({ data }) => (orders[data.id] = data.state));
for await (const _ of client) console.log(JSON.stringify(orders));
