// That the declarations are what a program in TypeScript needs. Compiled, and never run.

import { Book, PeatioClient, Refused, type Disconnected, type Level, type PeatioEvent } from "peatio-client";
import type { Order, RestOrder, RestTrade, Trade } from "peatio-client/channels";

const client = new PeatioClient("wss://exchange.example/", { token: async () => "token", cursor: null, silence: 30, longestPause: 5 });
client
  .on("order", ({ data, cursor }: PeatioEvent) => console.log(data.id, cursor))
  .on("btcusd.trades", async (event) => console.log(event.stream))
  .on("book", (book) => console.log(book.bestAsk?.[0]))
  .on("gap", ({ cursor }) => console.log(cursor))
  .on("resumed", ({ complete }) => console.log(complete))
  .on("missed", ({ stream }) => console.log(stream))
  .on("disconnected", ({ code, pause }: Disconnected) => console.log(code, pause));
// @ts-expect-error there is no such thing in it
client.on("disconnected", ({ message }) => console.log(message));
// @ts-expect-error a mistyped stream of the member
client.on("oder", ({ data }) => console.log(data));
// @ts-expect-error a mistyped callback
client.once("conected", () => console.log());
// @ts-expect-error Peatio has no such period
client.on("btcusd.kline-7m", ({ data }) => console.log(data[0]));
// @ts-expect-error nor the gateway such a pace
client.on("btcusd.trades@300ms", ({ data }) => console.log(data.trades));
const market: string = "btcusd";
client.on(`${market}.trades`, ({ data }) => console.log(data.trades[0]?.price));
const streams = ["order", "btcusd.trades"] as const;
new PeatioClient("wss://exchange.example/", { token: () => "token", streams, books: ["btcusd"] as const });
// @ts-expect-error a token is a string
new PeatioClient("wss://exchange.example/", { token: () => 5 });

const book: Book = client.book("btcusd", { every: 250 });
client.book("btcusd", { depth: 20, every: 1000 });
// @ts-expect-error the gateway has no such pace
client.book("btcusd", { every: 300 });
new PeatioClient("wss://exchange.example/", { books: ["btcusd"], every: 250, depth: 5 });
// @ts-expect-error nor such a depth
new PeatioClient("wss://exchange.example/", { books: ["btcusd"], depth: 3 });
const asks: Level[] = book.asks;
client.subscribe("btcusd.trades");
try {
  for await (const event of client) console.log(event.text, asks);
} catch (error) {
  if (error instanceof Refused) client.close();
}

async function read<Row>(path: string): Promise<Row[]> {
  return (await fetch(`https://exchange.example/api/v2/peatio/market/${path}`)).json() as Promise<Row[]>;
}
const [order] = await read<RestOrder>("orders?state=wait");
const [trade] = await read<RestTrade>("trades");
console.log(Date.parse(order!.created_at), trade!.fee_amount);
// @ts-expect-error an order over REST is not one of the stream
const streamed: Order = order!;
// @ts-expect-error nor is a trade
const fill: Trade = trade!;
console.log(streamed, fill);
