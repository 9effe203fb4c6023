"""Orders: how they are read from `peatio.orderbook` and from `private.<uid>.order`, and their texts for both protocols
(contract sections 1 to 3).

Pure. Values stay the JSON texts of the publisher.
"""

from __future__ import annotations

from typing import Final

import msgspec

from peatio_ws.errors import BadDelivery, DeliveryFault
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.message_fields import (
    NULL,
    Owner,
    as_iso,
    as_unix,
    difference,
    may_name_owner,
    owner_in_body,
    owner_in_headers,
    scalar,
)
from peatio_ws.protocol.private_events.base import BodyReader, PrivateEvent, Recall, Recipient, Variant
from peatio_ws.protocol.public_events import BookChange


class Order(PrivateEvent, frozen=True, gc=False):
    """A member's order. Its other fields are read on demand (`read_fields`): most orders that a worker reads belong to
    members who are not connected to it.

    Attributes:
        id: JSON.
        body: JSON of the whole order.
        verbatim: whether it came as a ranger event, which ranger clients receive byte for byte.
    """

    id: bytes
    body: bytes
    verbatim: bool = False

    @property
    def stream(self) -> str:
        return "order"

    @property
    def orders(self) -> tuple[Order, ...]:
        return (self,)

    @property
    def state_of(self) -> bytes:
        return self.id

    def variant(self, recipient: Recipient, translates: bool) -> Variant | None:
        return () if recipient.dialect is Dialect.CLASSIC or "order" in recipient.streams else None

    def encode(self, dialect: Dialect, variant: Variant, recall: Recall) -> bytes:
        if dialect is Dialect.CLASSIC:
            return b'{"orderbook":%b}' % classic_order(self)
        return b'{"order":%b}' % ranger_order(self)


# ---- reading


class _Identity(msgspec.Struct, gc=False):
    """The fields that identify an order and its owner."""

    id: msgspec.Raw = msgspec.Raw()
    member_id: msgspec.Raw = msgspec.Raw()
    order: msgspec.Raw = msgspec.Raw()
    uid: msgspec.Raw = msgspec.Raw()


_decode_identity = msgspec.json.Decoder(_Identity).decode


def from_orderbook(delivery: Delivery) -> Order | BookChange:
    """Read a delivery of `peatio.orderbook`: an order, or `{"action":…,"order":{…}}`.

    Raises:
        BadDelivery: it names an owner that is not understood, or has no id.
    """
    body = delivery.body
    outer = inner = _decode_identity(body)
    if outer.order and (nested := bytes(outer.order)).startswith(b"{"):
        body = nested
        inner = _decode_identity(body)
    owner = owner_in_headers(delivery.headers, "uid", "member_id")
    for wire in (outer, inner):
        if owner is None:
            owner = owner_in_body(wire.uid, wire.member_id)
    if owner is None:
        if may_name_owner(delivery.headers, delivery.body, body):
            raise BadDelivery(DeliveryFault.OWNER)
        return BookChange(delivery.body)
    return _identified(inner, owner, body)


def _from_ranger(uid: str, body: bytes, wire: _Identity) -> Order | None:
    """Return the order in the body of `private.<uid>.order`. Without an id it is not an order."""
    number = scalar(wire.id)
    return None if number == NULL else Order(number, body, verbatim=True, owners=(uid,))


FROM_RANGER: Final = BodyReader(_Identity, _from_ranger)


def nested_order(owner: Owner, body: bytes) -> Order:
    """Read an order that is a field of another event. Raise BadDelivery if it has no id."""
    return _identified(_decode_identity(body), owner, body)


def _identified(wire: _Identity, owner: Owner, body: bytes) -> Order:
    number = scalar(wire.id)
    if number == NULL:
        raise BadDelivery(DeliveryFault.SHAPE)
    return Order(number, body, owners=(owner,))


# ---- all its fields


class OrderFields(msgspec.Struct, frozen=True, gc=False):
    """The fields of an order. Each is JSON; `null` if the publisher did not send it.

    Attributes:
        created_at: as published: an ISO 8601 string or Unix seconds.
        remaining_volume, executed_volume: None if they are not known.
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


class _Wire(msgspec.Struct, gc=False):
    """The fields of an order under all their names, as raw JSON; empty when absent."""

    at: msgspec.Raw = msgspec.Raw()
    avg_price: msgspec.Raw = msgspec.Raw()
    created_at: msgspec.Raw = msgspec.Raw()
    executed_volume: msgspec.Raw = msgspec.Raw()
    kind: msgspec.Raw = msgspec.Raw()
    market: msgspec.Raw = msgspec.Raw()
    market_id: msgspec.Raw = msgspec.Raw()
    ord_type: msgspec.Raw = msgspec.Raw()
    origin_volume: msgspec.Raw = msgspec.Raw()
    price: msgspec.Raw = msgspec.Raw()
    remaining_volume: msgspec.Raw = msgspec.Raw()
    side: msgspec.Raw = msgspec.Raw()
    state: msgspec.Raw = msgspec.Raw()
    trades: msgspec.Raw = msgspec.Raw()
    trades_count: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    updated_at: msgspec.Raw = msgspec.Raw()
    volume: msgspec.Raw = msgspec.Raw()


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_trades = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode

_SIDES: Final = {b'"ask"': b'"sell"', b'"bid"': b'"buy"', b'"OrderAsk"': b'"sell"', b'"OrderBid"': b'"buy"'}
_TRADE_FIELDS: Final = frozenset(
    "id price volume amount funds total market market_id created_at side order_id taker_type".split()
)
"""What clients see of an order's trades: nothing that names the counterparty."""


def read_fields(order: Order) -> OrderFields:
    """Read all fields of an order."""
    wire = _decode_wire(order.body)
    side = scalar(wire.side, wire.kind)
    if side == NULL:
        side = scalar(wire.type)
    origin, remaining = scalar(wire.origin_volume), scalar(wire.remaining_volume, wire.volume)
    executed = scalar(wire.executed_volume)
    if executed == NULL:
        executed = difference(origin, remaining)
    return OrderFields(
        side=_SIDES.get(side, side),
        ord_type=scalar(wire.ord_type),
        price=scalar(wire.price),
        avg_price=scalar(wire.avg_price),
        state=scalar(wire.state),
        market_id=scalar(wire.market_id, wire.market),
        created_at=scalar(wire.created_at, wire.at),
        updated_at=scalar(wire.updated_at),
        origin_volume=origin,
        trades_count=scalar(wire.trades_count),
        trades=_trades(wire.trades),
        remaining_volume=None if remaining == NULL else remaining,
        executed_volume=None if executed == NULL else executed,
    )


def _trades(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    if text[:1] != b"[" or text == b"[]":
        return b"[]"
    try:
        rows = _decode_trades(raw)
    except msgspec.ValidationError:
        return b"[]"
    return msgspec.json.encode(
        [{name: msgspec.Raw(scalar(row[name])) for name in row if name in _TRADE_FIELDS} for row in rows]
    )


# ---- texts


def classic_order(order: Order) -> bytes:
    """Return an `Order` object of the classic protocol, always with all its fields, in the documented order."""
    fields = read_fields(order)
    volumes = b""
    if fields.remaining_volume is not None:
        volumes += b',"remaining_volume":%b' % fields.remaining_volume
    if fields.executed_volume is not None:
        volumes += b',"executed_volume":%b' % fields.executed_volume
    return (
        b'{"id":%b,"side":%b,"ord_type":%b,"price":%b,"avg_price":%b,"state":%b,"market_id":%b,"created_at":%b,'
        b'"origin_volume":%b,"trades_count":%b,"trades":%b%b}'
    ) % (
        order.id,
        fields.side,
        fields.ord_type,
        fields.price,
        fields.avg_price,
        fields.state,
        fields.market_id,
        as_iso(fields.created_at),
        fields.origin_volume,
        fields.trades_count,
        fields.trades,
        volumes,
    )


def order_stub(order_id: bytes) -> bytes:
    """Return an `Order` object of which only the id is known."""
    return b'{"id":%b}' % order_id


def ranger_order(order: Order) -> bytes:
    """Return an order under Peatio's later field names (its `Order#for_notify`)."""
    if order.verbatim:
        return order.body
    fields = read_fields(order)
    created = as_unix(fields.created_at)
    return (
        b'{"id":%b,"market":%b,"kind":%b,"side":%b,"ord_type":%b,"price":%b,"avg_price":%b,"state":%b,'
        b'"origin_volume":%b,"remaining_volume":%b,"executed_volume":%b,"at":%b,"created_at":%b,"updated_at":%b,'
        b'"trades_count":%b}'
    ) % (
        order.id,
        fields.market_id,
        {b'"sell"': b'"ask"', b'"buy"': b'"bid"'}.get(fields.side, NULL),
        fields.side,
        fields.ord_type,
        fields.price,
        fields.avg_price,
        fields.state,
        fields.origin_volume,
        fields.remaining_volume or NULL,
        fields.executed_volume or NULL,
        created,
        created,
        as_unix(fields.updated_at),
        fields.trades_count,
    )
