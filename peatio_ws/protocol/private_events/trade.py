"""Trades: how they are read from `peatio.trade` and from `private.<uid>.trade`, and their texts for both protocols
(contract sections 1 to 3).

Pure. Values stay the JSON texts of the publisher. Does not know orders as last seen: they are recalled by a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from peatio_ws.errors import BadDelivery, DeliveryFault
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.message_fields import (
    NULL,
    Owner,
    as_iso,
    as_unix,
    is_blank,
    is_blank_header,
    owner_in_body,
    owner_in_headers,
    scalar,
)
from peatio_ws.protocol.private_events.base import BodyReader, PrivateEvent, Recall, Recipient, TradeKey, Variant
from peatio_ws.protocol.private_events.order import Order, classic_order, nested_order, order_stub


class Party(msgspec.Struct, frozen=True, gc=False):
    """One side of a trade.

    Attributes:
        side: `ask` or `bid`; empty if the publisher did not say.
        order: the order, if the publisher included it.
    """

    owner: Owner
    side: str
    order_id: bytes
    order: Order | None


class Trade(PrivateEvent, frozen=True, gc=False):
    """A trade and its owners: one party, or two. Fields are JSON, as in `OrderFields`.

    Attributes:
        verbatim: the body, if it came as a ranger event, which ranger clients receive byte for byte.
    """

    parties: tuple[Party, ...]
    id: bytes
    price: bytes
    volume: bytes
    funds: bytes
    market_id: bytes
    created_at: bytes
    taker_type: bytes
    verbatim: bytes | None = None

    @property
    def stream(self) -> str:
        return "trade"

    @property
    def orders(self) -> tuple[Order, ...]:
        return tuple(party.order for party in self.parties if party.order is not None)

    def variant(self, recipient: Recipient, translates: bool) -> Variant | None:
        """Return the positions of the recipient's own parties: one, or both if it traded with itself."""
        if recipient.dialect is Dialect.RANGER and not (
            "trade" in recipient.streams and (translates or self.verbatim is not None)
        ):
            return None
        keys = (recipient.uid, recipient.member_id)
        return tuple(number for number, party in enumerate(self.parties) if party.owner in keys)

    def encode(self, dialect: Dialect, variant: Variant, recall: Recall) -> bytes:
        own = [self.parties[number] for number in variant]
        if dialect is Dialect.RANGER:
            return b'{"trade":%b}' % ranger_trade(self, own[0].side, own[0].order_id)
        orders = {party.side: _own_order(party, recall) for party in own if party.side}
        side = "both" if len(orders) == 2 else own[0].side
        return b'{"trade":%b}' % classic_trade(self, side, own[0].order_id, orders.get("ask"), orders.get("bid"))


def _own_order(party: Party, recall: Recall) -> bytes:
    """Return the receiver's own order: as the publisher included it, as last seen, or only its id."""
    if party.order is not None:
        return classic_order(party.order)
    if party.order_id == NULL:
        return order_stub(party.order_id)
    return recall(party.order_id, party.owner) or order_stub(party.order_id)


# ---- reading


class _Wire(msgspec.Struct, gc=False):
    """The fields of a trade under all their names, as raw JSON; empty when absent."""

    amount: msgspec.Raw = msgspec.Raw()
    ask: msgspec.Raw = msgspec.Raw()
    ask_id: msgspec.Raw = msgspec.Raw()
    ask_member_id: msgspec.Raw = msgspec.Raw()
    ask_uid: msgspec.Raw = msgspec.Raw()
    at: msgspec.Raw = msgspec.Raw()
    bid: msgspec.Raw = msgspec.Raw()
    bid_id: msgspec.Raw = msgspec.Raw()
    bid_member_id: msgspec.Raw = msgspec.Raw()
    bid_uid: msgspec.Raw = msgspec.Raw()
    created_at: msgspec.Raw = msgspec.Raw()
    funds: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    kind: msgspec.Raw = msgspec.Raw()
    market: msgspec.Raw = msgspec.Raw()
    market_id: msgspec.Raw = msgspec.Raw()
    order_id: msgspec.Raw = msgspec.Raw()
    price: msgspec.Raw = msgspec.Raw()
    side: msgspec.Raw = msgspec.Raw()
    taker_type: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()
    volume: msgspec.Raw = msgspec.Raw()


_decode_wire = msgspec.json.Decoder(_Wire).decode

TRADE_OWNERS: Final = ("ask_uid", "ask_member_id", "bid_uid", "bid_member_id")
"""The fields, and headers, that name the owners of a trade."""
_PARTY_SIDES: Final = {b'"sell"': "ask", b'"ask"': "ask", b'"buy"': "bid", b'"bid"': "bid"}


def from_trade_exchange(delivery: Delivery) -> Trade:
    """Read a delivery of `peatio.trade`.

    Raises:
        BadDelivery: it names no owner, or one that is not understood, or has no id.
    """
    wire = _decode_wire(delivery.body)
    parties = []
    for side, names, uid, member_id, order_id, order in (
        ("ask", TRADE_OWNERS[:2], wire.ask_uid, wire.ask_member_id, wire.ask_id, wire.ask),
        ("bid", TRADE_OWNERS[2:], wire.bid_uid, wire.bid_member_id, wire.bid_id, wire.bid),
    ):
        owner = owner_in_headers(delivery.headers, *names)
        if owner is None:
            owner = owner_in_body(uid, member_id)
        if owner is not None:
            parties.append(_party(owner, side, order_id, order))
    if not parties:
        named = _names_owner(delivery.headers or {}, wire)
        raise BadDelivery(DeliveryFault.OWNER if named else DeliveryFault.NO_OWNER)
    trade = _trade(wire, tuple(parties), None)
    if trade is None:
        raise BadDelivery(DeliveryFault.SHAPE)
    return trade


def _from_ranger(uid: str, body: bytes, wire: _Wire) -> Trade | None:
    """Return the trade in the body of `private.<uid>.trade`. Without an id it is not a trade."""
    return _trade(wire, (_receiver(uid, wire),), body)


FROM_RANGER: Final = BodyReader(_Wire, _from_ranger)


def _trade(wire: _Wire, parties: tuple[Party, ...], verbatim: bytes | None) -> Trade | None:
    number = scalar(wire.id)
    if number == NULL:
        return None
    market = scalar(wire.market_id, wire.market)
    return Trade(
        owners=tuple(dict.fromkeys(party.owner for party in parties)),
        key=TradeKey(number.strip(b'"'), b"" if market == NULL else market.strip(b'"')),
        parties=parties,
        id=number,
        price=scalar(wire.price),
        volume=scalar(wire.volume, wire.amount),
        funds=scalar(wire.funds, wire.total),
        market_id=market,
        created_at=scalar(wire.created_at, wire.at),
        taker_type=scalar(wire.taker_type),
        verbatim=verbatim,
    )


def _names_owner(headers: Mapping[str, Any], wire: _Wire) -> bool:
    """Return whether a trade names an owner, even one that is not understood."""
    fields = (wire.ask_uid, wire.ask_member_id, wire.bid_uid, wire.bid_member_id)
    if not all(is_blank(raw) for raw in fields):
        return True
    return not all(is_blank_header(headers.get(name)) for name in TRADE_OWNERS)


def _party(owner: Owner, side: str, order_id: msgspec.Raw, order: msgspec.Raw) -> Party:
    body = bytes(order)
    included = nested_order(owner, body) if body[:1] == b"{" else None
    number = scalar(order_id)
    return Party(owner, side, included.id if number == NULL and included else number, included)


def _receiver(uid: str, wire: _Wire) -> Party:
    """Return the receiver of a private trade. Peatio 1.9 to 2.2 call its side `kind`, and its order id by that side."""
    side = _PARTY_SIDES.get(scalar(wire.side, wire.kind), "")
    order_id = scalar(wire.order_id)
    if order_id == NULL and side:
        order_id = scalar(wire.ask_id if side == "ask" else wire.bid_id)
    return Party(uid, side, order_id, None)


# ---- texts


def classic_trade(trade: Trade, side: str, order_id: bytes, ask: bytes | None, bid: bytes | None) -> bytes:
    """Return a `Trade` object of the classic protocol for one member.

    Args:
        side: `ask`, `bid`, `both`, or empty if it is not known.
        ask, bid: the receiver's own order on that side, as JSON; None for the counterparty's side.
    """
    return b'{"id":%b,"price":%b,"volume":%b,"funds":%b,"market_id":%b,"created_at":%b,"side":%b,"order_id":%b%b%b}' % (
        trade.id,
        trade.price,
        trade.volume,
        trade.funds,
        trade.market_id,
        as_iso(trade.created_at),
        b'"%b"' % side.encode() if side else NULL,
        order_id,
        b',"ask":%b' % ask if ask else b"",
        b',"bid":%b' % bid if bid else b"",
    )


def ranger_trade(trade: Trade, side: str, order_id: bytes) -> bytes:
    """Return a trade under Peatio's later field names (its `Trade#for_notify`). In a trade with oneself, the side is
    the ask's."""
    if trade.verbatim is not None:
        return trade.verbatim
    return (
        b'{"id":%b,"price":%b,"amount":%b,"total":%b,"market":%b,"side":%b,"taker_type":%b,"created_at":%b,"order_id":%b}'
    ) % (
        trade.id,
        trade.price,
        trade.volume,
        trade.funds,
        trade.market_id,
        b'"buy"' if side == "bid" else b'"sell"',
        trade.taker_type,
        as_unix(trade.created_at),
        order_id,
    )
