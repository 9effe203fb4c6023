// A bot that reads every channel of Peatio: each line reads one field. Compiled, and never run. The tests misspell each
// field in turn, and each has to be an error.

import { isOf, PeatioClient } from "peatio-client";
import type { Order } from "peatio-client/channels";

const client = new PeatioClient("wss://exchange.example/", {
  token: () => "token",
  streams: ["order", "trade", "balances", "deposit_address", "global.tickers", "btcusd.trades", "btcusd.ob-inc"],
});

function marketOf(order: Order): string | null {
  return order.market;
}

client
  .on("global.tickers", ({ data }) => {
    const change: string | undefined = data["btcusd"]?.price_change_percent;
    console.log(change);
  })
  .on("btcusd.trades", ({ data }) => {
    const side: "buy" | "sell" | undefined = data.trades[0]?.taker_type;
    console.log(side);
  })
  .on("btcusd.kline-5m", ({ data: [time, , , , close] }) => {
    const candle: [number, number] = [time, close];
    console.log(candle);
  })
  .on("btcusd.ob-snap", ({ data }) => {
    const best: string | undefined = data.asks[0]?.[0];
    console.log(best);
  })
  .on("btcusd.ob-inc", ({ data }) => {
    const changed: [price: string, amount: string] | undefined = data.bids;
    console.log(changed);
  })
  .on("btcusd.update", ({ data }) => {
    const best: string | undefined = data.bids[0]?.[0];
    console.log(best);
  })
  .on("order", ({ data }) => {
    console.log(data.state, marketOf(data));
  })
  .on("trade", ({ data }) => {
    const id: number | string = data.id;
    console.log(id);
  })
  .on("balances", ({ data }) => {
    const [available, locked] = data["btc"] ?? ["0", "0"];
    console.log(available, locked);
  })
  .on("deposit_address", ({ data }) => {
    const currencies: string[] = data.currencies;
    console.log(currencies);
  })
  .on("global.tickers@1000ms", ({ data }) => {
    const last: string | undefined = data["btcusd"]?.last;
    console.log(last);
  })
  .on("btcusd.trades@500ms", ({ data }) => {
    const price: string | undefined = data.trades[0]?.price;
    console.log(price);
  })
  .on("btcusd.ob-inc@250ms", ({ data }) => {
    const before: number | undefined = data.previous;
    console.log(before);
  })
  .on("btcusd.ob-top@20/1000ms", ({ data }) => {
    const best: string | undefined = data.asks[0]?.[0];
    console.log(best);
  })
  .on("btcusd.mine", ({ data }) => console.log(data.whatever)); // not Peatio's

for await (const event of client) {
  if (isOf(event, "ethusd.trades")) {
    const amount: string | undefined = event.data.trades[0]?.amount;
    console.log(amount);
  }
}
