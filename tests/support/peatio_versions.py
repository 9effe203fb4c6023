"""What each version of Peatio publishes about a trade between two members: its exchanges, headers and fields.

The values are invented. Numbers are texts where Peatio sends decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

VERSIONS: Final = ("1.8", "1.9", "2.0", "2.2", "2.3", "3.0")
"""One for each form. 2.0 is also that of 2.1; 2.3 also that of 2.4 to 2.6."""
CREATED: Final = 1_767_225_600
CREATED_TEXT: Final = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Member:
    """A member of the exchange."""

    uid: str
    id: int


@dataclass(frozen=True)
class Message:
    """A message to an exchange of RabbitMQ."""

    exchange: str
    kind: str
    body: dict[str, Any]
    routing_key: str = ""
    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deal:
    """A trade: the ask, which was there first, is filled by the bid."""

    number: int
    seller: Member
    buyer: Member

    @property
    def ask(self) -> int:
        return self.number * 10 + 1

    @property
    def bid(self) -> int:
        return self.number * 10 + 2


def messages(version: str, deal: Deal) -> Iterator[Message]:
    """Return what Peatio publishes about a trade, in its order."""
    if version < "2.3":
        # Versions before 2.3 publish changes of the order book, which name no member.
        yield _book_change("add", deal.ask, "ask", "2.0")
    yield _trade(version, deal)
    if version >= "3.0":
        yield from _private_trades(version, deal)
    if version >= "1.9":
        yield _private(deal.seller, "order", _order(version, deal.ask, "ask"))
        yield _private(deal.buyer, "order", _order(version, deal.bid, "bid"))
    if "1.9" <= version < "3.0":
        yield from _private_trades(version, deal)
    if version < "2.3":
        yield _book_change("remove", deal.ask, "ask", "2.0")


def _book_change(action: str, number: int, side: str, volume: str) -> Message:
    order = {
        "id": number,
        "timestamp": CREATED,
        "type": side,
        "volume": volume,
        "price": "9120.5",
        "market": "btcusd",
        "ord_type": "limit",
    }
    return Message("peatio.orderbook", "fanout", {"action": action, "order": order})


def _trade(version: str, deal: Deal) -> Message:
    body: dict[str, Any] = {"id": deal.number, "price": "9120.5"}
    headers: dict[str, Any] = {"market": "btcusd"}
    if version < "2.3":
        body |= {"volume": "2.0", "ask_id": deal.ask, "bid_id": deal.bid, "trend": "up", "market_id": "btcusd"}
        members = {"ask_member_id": deal.seller.id, "bid_member_id": deal.buyer.id}
        body |= members
        headers |= members
        body["funds"] = "18241.0"
    else:
        members = {"maker_id": deal.seller.id, "taker_id": deal.buyer.id}
        body |= {"amount": "2.0", "maker_order_id": deal.ask, "taker_order_id": deal.bid, "market_id": "btcusd"}
        body |= {**members, "total": "18241.0", "taker_type": "buy"}
        headers |= members
        if version >= "3.0":
            headers["type"] = "local"
    body |= {"created_at": CREATED_TEXT, "updated_at": CREATED_TEXT}
    return Message("peatio.trade", "headers", body, headers=headers)


def _private(member: Member, event: str, body: dict[str, Any]) -> Message:
    return Message("peatio.events.ranger", "topic", body, routing_key=f"private.{member.uid}.{event}")


def _private_trades(version: str, deal: Deal) -> Iterator[Message]:
    for member, side, number in ((deal.seller, "ask", deal.ask), (deal.buyer, "bid", deal.bid)):
        body: dict[str, Any] = {"id": deal.number, "price": "9120.5"}
        if version < "2.2":
            body |= {"kind": side, "at": CREATED, "volume": "2.0", "ask_id": deal.ask, "bid_id": deal.bid}
            body["market"] = "btcusd"
        elif version < "2.3":
            body |= {"side": side, "kind": side, "volume": "2.0", "market": "btcusd", "at": CREATED}
            body |= {"created_at": CREATED, f"{side}_id": number}
        else:
            body |= {"amount": "2.0", "total": "18241.0", "market": "btcusd", "side": later_side(side)}
            body |= {"taker_type": "buy", "created_at": CREATED, "order_id": number}
        yield _private(member, "trade", body)


def _order(version: str, number: int, side: str) -> dict[str, Any]:
    body: dict[str, Any] = {"id": number, "market": "btcusd", "kind": side, "price": "9120.5", "state": "done"}
    body |= {"at": CREATED, "origin_volume": "2.0"}
    if version < "2.0":
        return {**body, "volume": "0.0"}
    body["remaining_volume"] = "0.0"
    if version < "2.2":
        return body
    body |= {"side": later_side(side), "ord_type": "limit", "avg_price": "9120.5", "executed_volume": "2.0"}
    return {**body, "created_at": CREATED, "updated_at": CREATED, "trades_count": 1}


def later_side(side: str) -> str:
    """Return the name of a side since Peatio 2.2."""
    return {"ask": "sell", "bid": "buy"}[side]
