"""Events: what a delivery from the broker means, as frozen structs. `deliveries.py` reads them, `encoding.py` writes
them for clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

ORDERBOOK: Final = "peatio.orderbook"
TRADE: Final = "peatio.trade"
RANGER: Final = "peatio.events.ranger"
EXCHANGES: Final = {ORDERBOOK: "fanout", TRADE: "headers", RANGER: "topic"}
"""Peatio's exchanges and their types."""

Owner: TypeAlias = str | int
"""Whom an event is for: a uid (str) or a member id (int). The two never match each other."""

NULL: Final = b"null"
NO_OWNER: Final = "no_owner"
"""Why a trade on `peatio.trade` is skipped that names no owner: Peatio 2.3 and later publish every trade there, and
notify its owners by `private.<uid>.trade`."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message as the broker handed it over.

    Attributes:
        offset: its place in the stream it was read from; None from any other queue.
    """

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    body: bytes
    offset: int | None = None


class Order(msgspec.Struct, frozen=True, gc=False):
    """A member's order. What else it says is read when somebody is to be told, see `details`: most orders that a
    worker hears of are of members who are not here.

    Attributes:
        id: a JSON text.
        body: JSON of the whole order.
        verbatim: whether that came as a ranger event.
    """

    owner: Owner
    id: bytes
    body: bytes
    verbatim: bool = False


class Details(msgspec.Struct, frozen=True, gc=False):
    """What an order says. Every field is a JSON text; `null` where the publisher gave nothing.

    Attributes:
        created_at: as published: ISO 8601 text or Unix seconds.
        remaining_volume, executed_volume: None when not known.
    """

    side: bytes
    ord_type: bytes
    price: bytes
    avg_price: bytes
    state: bytes
    market_id: bytes
    created_at: bytes
    updated_at: bytes
    origin_volume: bytes
    trades_count: bytes
    trades: bytes
    remaining_volume: bytes | None
    executed_volume: bytes | None


class Party(msgspec.Struct, frozen=True, gc=False):
    """One side of a trade.

    Attributes:
        side: `ask` or `bid`; empty when the publisher did not say.
        order: the order, where the publisher added it.
    """

    owner: Owner
    side: str
    order_id: bytes
    order: Order | None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade and the members it concerns: one party, or two. Fields are JSON texts as in `Details`."""

    parties: tuple[Party, ...]
    id: bytes
    price: bytes
    volume: bytes
    funds: bytes
    market_id: bytes
    created_at: bytes
    taker_type: bytes
    verbatim: bytes | None = None


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """A change of the public book on `peatio.orderbook`, which names no owner; sent only with ORDERBOOK_BROADCAST."""

    body: bytes


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of `peatio.events.ranger`, to be passed on byte for byte.

    Attributes:
        stream: the name clients subscribe to: `trade`, `btcusd.trades`, `admin.eurusd.sys`.
        owner: the uid of a private event; None for all others.
        body: JSON, checked.
    """

    stream: str
    owner: str | None
    body: bytes


Event: TypeAlias = Order | Trade | BookChange | StreamEvent
