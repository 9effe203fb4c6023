"""Peatio's streams, and the types of their events' bodies: `docs/channels.md` describes them.

Generated from docs/channels.schema.json by `python -m tests.programs.channel_types`; do not edit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, NotRequired, TypeAlias, TypedDict, final

from peatio_client.events import Stream

DecimalText: TypeAlias = str
"""A decimal number as text, with all its digits."""
UnixTime: TypeAlias = int
"""Unix time in seconds."""
IsoTime: TypeAlias = str
"""Time as text, ISO 8601: `2026-11-29T13:46:40Z`."""
Kline: TypeAlias = list[int | Decimal]
"""A candle: six numbers."""


@final
class Ticker(TypedDict):
    """The last 24 hours of a market."""

    at: str
    avg_price: DecimalText
    high: DecimalText
    last: DecimalText
    low: DecimalText
    open: DecimalText
    price_change_percent: str
    volume: DecimalText
    amount: DecimalText


@final
class PublicTrades(TypedDict):
    """New trades of a market; Peatio publishes one at a time."""

    trades: list[PublicTrade]


@final
class PublicTrade(TypedDict):
    """A trade of a market."""

    tid: int
    taker_type: Literal["buy", "sell"]
    date: UnixTime
    price: DecimalText
    amount: DecimalText


@final
class BookSnapshot(TypedDict):
    """An order book, complete except for the prices beyond the best 301 of a side."""

    asks: list[PriceLevel]
    bids: list[PriceLevel]
    sequence: int


@final
class BookIncrement(TypedDict):
    """The new amount at one price, on one side."""

    asks: NotRequired[PriceLevel]
    bids: NotRequired[PriceLevel]
    sequence: int


@final
class BookUpdate(TypedDict):
    """An order book without a number. Peatio 1.9 to 2.3."""

    asks: list[PriceLevel]
    bids: list[PriceLevel]


@final
class Order(TypedDict):
    """The current state of one of the member's orders."""

    id: int
    market: str
    kind: Literal["ask", "bid"]
    side: Literal["sell", "buy"]
    ord_type: Literal["limit", "market"]
    price: DecimalText | None
    avg_price: DecimalText
    state: Literal["pending", "wait", "done", "cancel", "reject"]
    origin_volume: DecimalText
    remaining_volume: DecimalText
    executed_volume: DecimalText
    at: UnixTime
    created_at: UnixTime
    updated_at: UnixTime | None
    trades_count: int


@final
class Trade(TypedDict):
    """A trade of one of the member's orders."""

    id: int
    price: DecimalText
    amount: DecimalText
    total: DecimalText
    market: str
    side: Literal["buy", "sell"]
    taker_type: Literal["buy", "sell"] | None
    created_at: UnixTime
    order_id: int


@final
class RestOrder(TypedDict):
    """An order as Peatio's REST API answers it: `GET …/market/orders`."""

    id: int
    uuid: NotRequired[str]
    market: str
    market_type: NotRequired[str]
    side: Literal["sell", "buy"]
    ord_type: Literal["limit", "market"]
    price: DecimalText | None
    avg_price: DecimalText
    state: Literal["pending", "wait", "done", "cancel", "reject"]
    origin_volume: DecimalText
    remaining_volume: DecimalText
    executed_volume: DecimalText
    maker_fee: NotRequired[DecimalText]
    taker_fee: NotRequired[DecimalText]
    created_at: IsoTime
    updated_at: IsoTime
    trades_count: int


@final
class RestTrade(TypedDict):
    """A trade of the member as Peatio's REST API answers it: `GET …/market/trades`."""

    id: int
    price: DecimalText
    amount: DecimalText
    total: DecimalText
    fee_currency: str
    fee: DecimalText
    fee_amount: DecimalText
    market: str
    market_type: NotRequired[str]
    created_at: IsoTime
    taker_type: Literal["buy", "sell"]
    side: Literal["buy", "sell"]
    order_id: int


@final
class RestPublicTrade(TypedDict):
    """A trade of a market as Peatio's REST API answers it: `GET …/public/markets/<market>/trades`."""

    id: int
    price: int | Decimal
    amount: int | Decimal
    total: int | Decimal
    market: str
    created_at: UnixTime
    taker_type: Literal["buy", "sell"]


@final
class DepositAddress(TypedDict):
    """A new address for the member's deposits."""

    type: Literal["create"]
    currencies: list[str]
    blockchain_key: NotRequired[str]
    address: str


Tickers: TypeAlias = dict[str, Ticker]
"""The last 24 hours of each market, by the id of the market."""
PriceLevel: TypeAlias = list[DecimalText]
"""A price, and the total amount of the orders at that price."""
Balance: TypeAlias = list[DecimalText]
"""What a member has of a currency."""
Balances: TypeAlias = dict[str, Balance]
"""The member's balances that changed, by the id of the currency."""


TICKERS: Final = Stream[Tickers]("global.tickers")
ORDER: Final = Stream[Order]("order")
TRADE: Final = Stream[Trade]("trade")
BALANCES: Final = Stream[Balances]("balances")
DEPOSIT_ADDRESS: Final = Stream[DepositAddress]("deposit_address")


def trades(market: str) -> Stream[PublicTrades]:
    """Return the stream `<market>.trades`."""
    return Stream(f"{market}.trades")


def kline(
    market: str,
    period: Literal["1m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "3d", "1w"],
) -> Stream[Kline]:
    """Return the stream `<market>.kline-<period>`."""
    return Stream(f"{market}.kline-{period}")


def ob_snap(market: str) -> Stream[BookSnapshot]:
    """Return the stream `<market>.ob-snap`."""
    return Stream(f"{market}.ob-snap")


def ob_inc(market: str) -> Stream[BookIncrement]:
    """Return the stream `<market>.ob-inc`."""
    return Stream(f"{market}.ob-inc")


def update(market: str) -> Stream[BookUpdate]:
    """Return the stream `<market>.update`."""
    return Stream(f"{market}.update")
