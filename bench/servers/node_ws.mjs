/* A minimal gateway for private orders, with Node's ws and amqplib. */
import { createPublicKey, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";

import amqp from "amqplib";
import jwt from "jsonwebtoken";
import { WebSocketServer } from "ws";

const key = createPublicKey(readFileSync(process.env.JWT_PUBLIC_KEY_FILE));
const verifyOptions = { algorithms: ["RS256"], issuer: "barong", audience: "peatio", subject: "session" };
const AUTHENTICATED = Buffer.from('{"success":{"message":"Authenticated."}}');
const members = new Map(); // uid -> set of sockets
const streams = new Map(); // name -> set of sockets

function orderbook(body) {
  const order = JSON.parse(body);
  return Buffer.from(
    JSON.stringify({
      orderbook: {
        id: order.id,
        side: order.side,
        ord_type: order.ord_type,
        price: order.price,
        avg_price: order.avg_price,
        state: order.state,
        market_id: order.market,
        created_at: new Date(order.created_at * 1000).toISOString(),
        origin_volume: order.origin_volume,
        trades_count: order.trades_count,
        trades: [],
        remaining_volume: order.remaining_volume,
        executed_volume: order.executed_volume,
      },
    }),
  );
}

function onDelivery({ fields, content }) {
  const [kind, target, event] = fields.routingKey.split(".");
  const stream = `${target}.${event}`;
  const sockets = kind === "private" ? members.get(target) : streams.get(stream);
  if (!sockets || (kind === "private" && event !== "order")) return;
  const text = kind === "private" ? orderbook(content) : Buffer.from(`{"${stream}":${content}}`);
  for (const socket of sockets) socket.send(text, { binary: false });
}

function add(register, name, socket) {
  const sockets = register.get(name);
  if (sockets) sockets.add(socket);
  else register.set(name, new Set([socket]));
}

function authenticate(socket, data) {
  try {
    const [, token] = JSON.parse(data).jwt.split(" ");
    const { uid } = jwt.verify(token, key, verifyOptions);
    socket.uid = uid;
  } catch {
    socket.send('{"error":{"message":"Authentication failed."}}');
    return;
  }
  add(members, socket.uid, socket);
  socket.send(AUTHENTICATED, { binary: false });
}

function remove(socket) {
  for (const [register, name] of [[members, socket.uid], [streams, socket.stream]]) {
    const sockets = register.get(name);
    if (sockets?.delete(socket) && !sockets.size) register.delete(name);
  }
}

const broker = await amqp.connect(process.env.AMQP_URL, { noDelay: true });
const channel = await broker.createChannel();
await channel.assertExchange("peatio.events.ranger", "topic", { durable: false });
async function consume(queue, keys, options) {
  for (const key of keys) await channel.bindQueue(queue, "peatio.events.ranger", key);
  await channel.consume(queue, options.noAck ? onDelivery : onStreamed, options);
}
let unacknowledged = 0; // deliveries of the stream
function onStreamed(delivery) {
  onDelivery(delivery);
  if (++unacknowledged === 500) {
    channel.ack(delivery, true);
    unacknowledged = 0;
  }
}
const temporary = { exclusive: true, autoDelete: true, durable: false };
const { queue } = await channel.assertQueue("", temporary);
if (process.env.HISTORY) {
  const stream = { durable: true, arguments: { "x-queue-type": "stream", "x-stream-max-segment-size-bytes": 16_000_000 } };
  await channel.assertQueue("node.history", stream);
  await channel.prefetch(2000);
  await consume("node.history", ["private.#"], { arguments: { "x-stream-offset": "next" } });
  await consume(queue, ["public.#"], { noAck: true });
} else {
  await consume(queue, ["private.#", "public.#"], { noAck: true });
}

const { TLS_CERT, TLS_KEY } = process.env;
const listener = TLS_CERT
  ? createSecureServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) })
  : createServer();
const server = new WebSocketServer({ server: listener, perMessageDeflate: false, maxPayload: 16384 });
server.on("connection", (socket, request) => {
  socket.on("message", (data) => authenticate(socket, data));
  socket.on("close", () => remove(socket));
  socket.on("error", () => remove(socket));
  socket.stream = new URL(request.url, "ws://here").searchParams.get("stream");
  if (socket.stream) {
    add(streams, socket.stream, socket);
    socket.send(JSON.stringify({ success: { message: "subscribed", streams: [socket.stream] } }));
  } else {
    socket.send(JSON.stringify({ challenge: randomBytes(40).toString("base64url") }));
  }
});
listener.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 }, () =>
  writeFileSync(process.env.READY_FILE, ""),
);
