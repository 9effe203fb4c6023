/**
 * Peatio's streams, and the types of their events' bodies: `docs/channels.md` describes them.
 *
 * Generated from docs/channels.schema.json by `python -m tests.programs.channel_types`; do not edit.
 */

/** A decimal number as text, with all its digits. */
export type DecimalText = string;

/** Unix time in seconds. */
export type UnixTime = number;

/** Time as text, ISO 8601: `2026-11-29T13:46:40Z`. */
export type IsoTime = string;

/** The last 24 hours of each market, by the id of the market. */
export type Tickers = Record<string, Ticker>;

/** The last 24 hours of a market. */
export interface Ticker {
  /** Time of the ticker: Unix seconds, as text. */
  at: string;
  /** Average price, weighted by amount. */
  avg_price: DecimalText;
  /** Highest price. */
  high: DecimalText;
  /** Price of the last trade. */
  last: DecimalText;
  /** Lowest price. */
  low: DecimalText;
  /** First price. */
  open: DecimalText;
  /** Change from `open` to `last`, with sign, two digits and a percent sign. */
  price_change_percent: string;
  /** Traded volume in the quote currency. */
  volume: DecimalText;
  /** Traded amount in the base currency. */
  amount: DecimalText;
}

/** New trades of a market; Peatio publishes one at a time. */
export interface PublicTrades {
  /** Peatio publishes one trade at a time. */
  trades: PublicTrade[];
}

/** A trade of a market. */
export interface PublicTrade {
  /** Id of the trade. */
  tid: number;
  /** Side of the order that took the other one. */
  taker_type: "buy" | "sell";
  /** Time of the trade. */
  date: UnixTime;
  /** Price. */
  price: DecimalText;
  /** Amount in the base currency. */
  amount: DecimalText;
}

/** A candle: six numbers. */
export type Kline = [time: number, open: number, high: number, low: number, close: number, volume: number];

/** A price, and the total amount of the orders at that price. */
export type PriceLevel = [price: DecimalText, amount: DecimalText];

/** An order book, complete except for the prices beyond the best 301 of a side. */
export interface BookSnapshot {
  /** Ascending. */
  asks: PriceLevel[];
  /** Descending. */
  bids: PriceLevel[];
  /** Number of the last change that the book contains. */
  sequence: number;
}

/** The new amount at one price, on one side. */
export interface BookIncrement {
  /** The changed ask; amount `0.0` if none is left. */
  asks?: PriceLevel;
  /** The changed bid; amount `0.0` if none is left. */
  bids?: PriceLevel;
  /** Number of the change, one more than that of the previous change. */
  sequence: number;
}

/** An order book without a number. Peatio 1.9 to 2.3. */
export interface BookUpdate {
  /** Ascending. */
  asks: PriceLevel[];
  /** Descending. */
  bids: PriceLevel[];
}

/** The current state of one of the member's orders. */
export interface Order {
  /** Id of the order. */
  id: number;
  /** Id of the market. */
  market: string;
  /** The older name of the side. */
  kind: "ask" | "bid";
  /** Side. */
  side: "sell" | "buy";
  /** Type. */
  ord_type: "limit" | "market";
  /** Limit; null for a market order. */
  price: DecimalText | null;
  /** Average price of its trades; `0.0` without one. */
  avg_price: DecimalText;
  /** `pending` before it is in the book, `wait` in the book, `done` filled, `cancel` cancelled, `reject` refused. */
  state: "pending" | "wait" | "done" | "cancel" | "reject";
  /** Amount as placed. */
  origin_volume: DecimalText;
  /** Amount not filled yet. */
  remaining_volume: DecimalText;
  /** Amount filled. */
  executed_volume: DecimalText;
  /** The older name of `created_at`. */
  at: UnixTime;
  /** Time of the order. */
  created_at: UnixTime;
  /** Time of its last change; null if the gateway translated the order from a message of `peatio.orderbook` without it. */
  updated_at: UnixTime | null;
  /** Number of its trades. */
  trades_count: number;
}

/** A trade of one of the member's orders. */
export interface Trade {
  /** Id of the trade. */
  id: number;
  /** Price. */
  price: DecimalText;
  /** Amount in the base currency. */
  amount: DecimalText;
  /** Price times amount, in the quote currency. */
  total: DecimalText;
  /** Id of the market. */
  market: string;
  /** Side of the member's order. */
  side: "buy" | "sell";
  /** Side of the order that took the other one; null if the gateway translated the trade from a message of `peatio.trade` without it. */
  taker_type: "buy" | "sell" | null;
  /** Time of the trade. */
  created_at: UnixTime;
  /** Id of the member's order. */
  order_id: number;
}

/** What a member has of a currency. */
export type Balance = [available: DecimalText, locked: DecimalText];

/** The member's balances that changed, by the id of the currency. */
export type Balances = Record<string, Balance>;

/** An order as Peatio's REST API answers it: `GET …/market/orders`. */
export interface RestOrder {
  /** Id of the order. */
  id: number;
  /** Another id of the order. Peatio 2.4 and later. */
  uuid?: string;
  /** Id of the market. */
  market: string;
  /** `spot` or `qe`. Peatio 3.0. */
  market_type?: string;
  /** Side. */
  side: "sell" | "buy";
  /** Type. */
  ord_type: "limit" | "market";
  /** Limit; null for a market order. */
  price: DecimalText | null;
  /** Average price of its trades; `0.0` without one. */
  avg_price: DecimalText;
  /** As in the stream. */
  state: "pending" | "wait" | "done" | "cancel" | "reject";
  /** Amount as placed. */
  origin_volume: DecimalText;
  /** Amount not filled yet. */
  remaining_volume: DecimalText;
  /** Amount filled. */
  executed_volume: DecimalText;
  /** Fee as a maker, 0.002 for 0.2 %. Peatio 2.6 and later. */
  maker_fee?: DecimalText;
  /** Fee as a taker. Peatio 2.6 and later. */
  taker_fee?: DecimalText;
  /** Time of the order. */
  created_at: IsoTime;
  /** Time of its last change. */
  updated_at: IsoTime;
  /** Number of its trades. */
  trades_count: number;
}

/** A trade of the member as Peatio's REST API answers it: `GET …/market/trades`. */
export interface RestTrade {
  /** Id of the trade. */
  id: number;
  /** Price. */
  price: DecimalText;
  /** Amount in the base currency. */
  amount: DecimalText;
  /** Price times amount, in the quote currency. */
  total: DecimalText;
  /** Id of the currency of the fee. */
  fee_currency: string;
  /** The fee's part of the trade, 0.002 for 0.2 %. */
  fee: DecimalText;
  /** The fee, in its currency. */
  fee_amount: DecimalText;
  /** Id of the market. */
  market: string;
  /** `spot` or `qe`. Peatio 3.0. */
  market_type?: string;
  /** Time of the trade. */
  created_at: IsoTime;
  /** Side of the order that took the other one. */
  taker_type: "buy" | "sell";
  /** Side of the member's order. */
  side: "buy" | "sell";
  /** Id of the member's order. */
  order_id: number;
}

/** A trade of a market as Peatio's REST API answers it: `GET …/public/markets/<market>/trades`. */
export interface RestPublicTrade {
  /** Id of the trade, `tid` in the stream. */
  id: number;
  /** Price. */
  price: number;
  /** Amount in the base currency. */
  amount: number;
  /** Price times amount, in the quote currency. */
  total: number;
  /** Id of the market. */
  market: string;
  /** Time of the trade. */
  created_at: UnixTime;
  /** Side of the order that took the other one. */
  taker_type: "buy" | "sell";
}

/** A new address for the member's deposits. */
export interface DepositAddress {
  /** Always `create`. */
  type: "create";
  /** Ids of the currencies that can be deposited at the address. */
  currencies: string[];
  /** Key of the blockchain. After Peatio 3.0. */
  blockchain_key?: string;
  /** The address. */
  address: string;
}

/** The pace of a view. */
export type Pace = `${100 | 250 | 500 | 1000 | 2000 | 5000}ms`;

/** How many levels of each side a view of a book has. */
export type Levels = 1 | 5 | 10 | 20 | 50;

/** The prices of a book that changed since the frame before (`btcusd.ob-inc@250ms`). */
export interface BookChanges {
  /** Asks that changed; amount zero if none is left. */
  asks: PriceLevel[];
  /** Bids that changed; amount zero if none is left. */
  bids: PriceLevel[];
  /** Number of the last change. */
  sequence: number;
  /** `sequence` of the frame or snapshot before. */
  previous: number;
}

/**
 * The body of a stream's events, by the stream's name: `any` for streams that are not Peatio's, `never` for
 * candles and views that do not exist.
 */
export type BodyOf<Name> =
  Name extends `${string}.ob-inc@${Pace}` ? BookChanges :
  Name extends `${string}.ob-top@${Levels}` | `${string}.ob-top@${Levels}/${Pace}` ? BookSnapshot :
  Name extends `${infer Market}.${infer Kind}@${Pace}` ? BodyOf<`${Market}.${Kind}`> :
  Name extends `${string}.${string}@${string}` ? never :
  Name extends "global.tickers" ? Tickers :
  Name extends "order" ? Order :
  Name extends "trade" ? Trade :
  Name extends "balances" ? Balances :
  Name extends "deposit_address" ? DepositAddress :
  Name extends `${string}.trades` ? PublicTrades :
  Name extends `${string}.kline-${"1m" | "5m" | "15m" | "30m" | "1h" | "2h" | "4h" | "6h" | "12h" | "1d" | "3d" | "1w"}` ? Kline :
  Name extends `${string}.kline-${string}` ? never :
  Name extends `${string}.ob-snap` ? BookSnapshot :
  Name extends `${string}.ob-inc` ? BookIncrement :
  Name extends `${string}.update` ? BookUpdate :
  any;
