"""What a delivery from the broker means, and whom it is for (contract section 3).

Bytes and headers in, frozen events out. Values stay the JSON texts that the publisher wrote, so that no digit changes.
Knows Peatio's names; does not know how clients want to see them (`encoding.py`) nor who is connected (`router.py`).
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from peatio_ws.auth.identity import member_id_of
from peatio_ws.errors import BadDelivery
from peatio_ws.protocol.event_kinds import (
    NO_OWNER,
    NULL,
    ORDERBOOK,
    RANGER,
    TRADE,
    BookChange,
    Delivery,
    Details,
    Event,
    Order,
    Owner,
    Party,
    StreamEvent,
    Trade,
)


class _Wire(msgspec.Struct, gc=False):
    """Every field of Peatio's orders and trades that is looked at, as raw JSON; empty when absent."""

    action: msgspec.Raw = msgspec.Raw()
    ask: msgspec.Raw = msgspec.Raw()
    ask_id: msgspec.Raw = msgspec.Raw()
    ask_member_id: msgspec.Raw = msgspec.Raw()
    ask_uid: msgspec.Raw = msgspec.Raw()
    amount: msgspec.Raw = msgspec.Raw()
    at: msgspec.Raw = msgspec.Raw()
    avg_price: msgspec.Raw = msgspec.Raw()
    bid: msgspec.Raw = msgspec.Raw()
    bid_id: msgspec.Raw = msgspec.Raw()
    bid_member_id: msgspec.Raw = msgspec.Raw()
    bid_uid: msgspec.Raw = msgspec.Raw()
    created_at: msgspec.Raw = msgspec.Raw()
    executed_volume: msgspec.Raw = msgspec.Raw()
    funds: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    kind: msgspec.Raw = msgspec.Raw()
    market: msgspec.Raw = msgspec.Raw()
    market_id: msgspec.Raw = msgspec.Raw()
    member_id: msgspec.Raw = msgspec.Raw()
    ord_type: msgspec.Raw = msgspec.Raw()
    order: msgspec.Raw = msgspec.Raw()
    order_id: msgspec.Raw = msgspec.Raw()
    origin_volume: msgspec.Raw = msgspec.Raw()
    price: msgspec.Raw = msgspec.Raw()
    remaining_volume: msgspec.Raw = msgspec.Raw()
    side: msgspec.Raw = msgspec.Raw()
    state: msgspec.Raw = msgspec.Raw()
    taker_type: msgspec.Raw = msgspec.Raw()
    total: msgspec.Raw = msgspec.Raw()
    trades: msgspec.Raw = msgspec.Raw()
    trades_count: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    uid: msgspec.Raw = msgspec.Raw()
    updated_at: msgspec.Raw = msgspec.Raw()
    volume: msgspec.Raw = msgspec.Raw()


class _WireOrder(msgspec.Struct, gc=False):
    """The same as far as it tells which order it is, and whose."""

    id: msgspec.Raw = msgspec.Raw()
    member_id: msgspec.Raw = msgspec.Raw()
    order: msgspec.Raw = msgspec.Raw()
    uid: msgspec.Raw = msgspec.Raw()


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_order = msgspec.json.Decoder(_WireOrder).decode
_decode_trades = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode

_SIDES: Final = {b'"ask"': b'"sell"', b'"bid"': b'"buy"', b'"OrderAsk"': b'"sell"', b'"OrderBid"': b'"buy"'}
_PARTY_SIDES: Final = {b'"sell"': "ask", b'"ask"': "ask", b'"buy"': "bid", b'"bid"': "bid"}
# What an order may tell of its trades: nothing that names the other party.
_TRADE_FIELDS: Final = frozenset(
    "id price volume amount funds total market market_id created_at side order_id taker_type".split()
)
_ORDER_OWNERS: Final = ("uid", "member_id")
_OWNER_NAMES: Final = frozenset("uid member_id member member_uid user user_id user_uid owner owner_id email".split())
"""What an order may name its owner by, in lower case. Only the first two are understood; an order with another one is
not a public change of the book."""
_TRADE_OWNERS: Final = ("ask_uid", "ask_member_id", "bid_uid", "bid_member_id")
_NO_SCALAR: Final = b"{[n"
_DECIMAL = re.compile(rb'"?(-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,2})?)"?')
_EXACT: Final = decimal.Context(prec=300, traps=[decimal.Inexact])


def read(delivery: Delivery, public: bool = False) -> Event:
    """What a delivery means.

    Args:
        public: whether it came by the queue of public events, to which only `peatio.events.ranger` is bound.

    Raises:
        BadDelivery: `json`, `shape`, `routing_key`, `owner` (owners are named, but not understood), `NO_OWNER`, or
            `exchange` (from another exchange than Peatio's, and not beyond doubt what it is).
    """
    try:
        if public and delivery.exchange:
            return _read_ranger(delivery)
        return _READERS.get(delivery.exchange, _read_forwarded)(delivery)
    except UnicodeDecodeError:
        raise BadDelivery("json") from None
    except msgspec.ValidationError:
        raise BadDelivery("shape") from None
    except (msgspec.DecodeError, RecursionError):
        raise BadDelivery("json") from None


def _check_utf8(body: bytes) -> None:
    if not body.isascii():
        body.decode()  # msgspec passes over what it does not have to build, without a look at its UTF-8


def _read_orderbook(delivery: Delivery) -> Event:
    body = delivery.body
    _check_utf8(body)
    outer = wire = _decode_order(body)
    if outer.order and (inner := bytes(outer.order)).startswith(b"{"):
        body = inner
        wire = _decode_order(body)
    owner = _owner_in_headers(delivery.headers, "uid", "member_id")
    for place in (outer, wire):
        if owner is None:
            owner = _owner(place.uid, place.member_id)
    if owner is None:
        if _hints_at_owner(delivery.headers or {}, delivery.body, body):
            raise BadDelivery("owner")
        return BookChange(delivery.body)
    return _order(wire.id, owner, body)


def _hints_at_owner(headers: Mapping[str, Any], *bodies: bytes) -> bool:
    """Return whether an order names an owner that is not understood. In doubt it does: then no stranger sees it."""
    if not all(_is_blank(value) for name, value in headers.items() if name.lower() in _OWNER_NAMES):
        return True
    return any(
        bytes(raw).strip(b'" ') not in (b"", NULL)
        for body in bodies
        for name, raw in _decode_fields(body).items()
        if name.lower() in _OWNER_NAMES
    )


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_trade(delivery: Delivery) -> Event:
    _check_utf8(delivery.body)
    wire = _decode_wire(delivery.body)
    parties = []
    for side, names, uid, member_id, order_id, order in (
        ("ask", ("ask_uid", "ask_member_id"), wire.ask_uid, wire.ask_member_id, wire.ask_id, wire.ask),
        ("bid", ("bid_uid", "bid_member_id"), wire.bid_uid, wire.bid_member_id, wire.bid_id, wire.bid),
    ):
        owner = _owner_in_headers(delivery.headers, *names)
        if owner is None:
            owner = _owner(uid, member_id)
        if owner is not None:
            parties.append(_party(owner, side, order_id, order))
    if not parties:
        raise BadDelivery("owner" if _names_owner(delivery.headers or {}, wire) else NO_OWNER)
    return _trade(wire, tuple(parties), None)


def _names_owner(headers: Mapping[str, Any], wire: _Wire) -> bool:
    """Return whether a trade names an owner, be it one that cannot be understood."""
    given = (wire.ask_uid, wire.ask_member_id, wire.bid_uid, wire.bid_member_id)
    if any(bytes(raw).strip(b'" ') not in (b"", NULL) for raw in given):
        return True
    return not all(_is_blank(headers.get(name)) for name in _TRADE_OWNERS)


def _party(owner: Owner, side: str, order_id: msgspec.Raw, order: msgspec.Raw) -> Party:
    body = bytes(order)
    seen = _order(_decode_order(body).id, owner, body) if body[:1] == b"{" else None
    number = _scalar(order_id)
    return Party(owner, side, seen.id if number == NULL and seen else number, seen)


def _read_ranger(delivery: Delivery) -> Event:
    body = delivery.body
    _check_utf8(body)
    match delivery.routing_key.split("."):
        case ["private", uid, name] if uid and name:
            return _read_private(uid, name, body)
        case ["public", market, name] if market and name:
            stream = f"{market}.{name}"
        case ["global", name] if name:
            stream = f"global.{name}"
        case [prefix, place, name] if prefix and place and name:
            stream = delivery.routing_key
        case _:
            raise BadDelivery("routing_key")
    _check_json(body)
    return StreamEvent(stream, None, body)


def _read_private(uid: str, name: str, body: bytes) -> Event:
    if body.lstrip()[:1] == b"{":
        if name == "order":
            number = _scalar(_decode_order(body).id)
            if number != NULL:
                return Order(uid, number, body, verbatim=True)
        elif name == "trade":
            wire = _decode_wire(body)
            if _scalar(wire.id) != NULL:
                return _trade(wire, (_receiver_of(uid, wire),), body)
    _check_json(body)
    return StreamEvent(name, uid, body)


def _receiver_of(uid: str, wire: _Wire) -> Party:
    """The receiver of a private trade. Peatio 1.9 to 2.2 name its side `kind`, and its order by that side."""
    side = _PARTY_SIDES.get(_scalar(wire.side, wire.kind), "")
    order_id = _scalar(wire.order_id)
    if order_id == NULL and side:
        order_id = _scalar(wire.ask_id if side == "ask" else wire.bid_id)
    return Party(uid, side, order_id, None)


def _read_forwarded(delivery: Delivery) -> Event:
    """A private message of another exchange, which an operator bound to one of Peatio's. AMQP keeps the name of the
    first exchange, so the message itself has to say what it is. In doubt it is dropped."""
    if not delivery.exchange:
        raise BadDelivery("exchange")
    body, headers = delivery.body, delivery.headers or {}
    _check_utf8(body)
    wire = _decode_wire(body) if body.lstrip()[:1] == b"{" else _Wire()
    if delivery.routing_key.startswith("private."):
        uid = _owner(wire.uid, msgspec.Raw())
        if any(name in headers for name in (*_ORDER_OWNERS, *_TRADE_OWNERS)):
            raise BadDelivery("exchange")
        if uid is not None and uid != delivery.routing_key.split(".")[1]:
            raise BadDelivery("exchange")
        return _read_ranger(delivery)
    is_order = any(name in headers for name in _ORDER_OWNERS) or bool(wire.uid or wire.member_id or wire.order)
    is_trade = any(name in headers for name in _TRADE_OWNERS) or bool(wire.ask_id or wire.bid_id)
    if is_order == is_trade:
        raise BadDelivery("exchange")
    event = (_read_orderbook if is_order else _read_trade)(delivery)
    if isinstance(event, BookChange):  # nobody knows that everybody may have it
        raise BadDelivery("exchange")
    return event


_READERS: Final = {ORDERBOOK: _read_orderbook, TRADE: _read_trade, RANGER: _read_ranger}


def _order(order_id: msgspec.Raw, owner: Owner, body: bytes) -> Order:
    number = _scalar(order_id)
    if number == NULL:
        raise BadDelivery("shape")
    return Order(owner, number, body)


def details(order: Order) -> Details:
    """All that an order says."""
    wire = _decode_wire(order.body)
    side = _scalar(wire.side, wire.kind)
    if side == NULL:
        side = _scalar(wire.type)
    origin, remaining = _scalar(wire.origin_volume), _scalar(wire.remaining_volume, wire.volume)
    executed = _scalar(wire.executed_volume)
    if executed == NULL:
        executed = _difference(origin, remaining)
    return Details(
        side=_SIDES.get(side, side),
        ord_type=_scalar(wire.ord_type),
        price=_scalar(wire.price),
        avg_price=_scalar(wire.avg_price),
        state=_scalar(wire.state),
        market_id=_scalar(wire.market_id, wire.market),
        created_at=_scalar(wire.created_at, wire.at),
        updated_at=_scalar(wire.updated_at),
        origin_volume=origin,
        trades_count=_scalar(wire.trades_count),
        trades=_trades(wire.trades),
        remaining_volume=None if remaining == NULL else remaining,
        executed_volume=None if executed == NULL else executed,
    )


def _trade(wire: _Wire, parties: tuple[Party, ...], verbatim: bytes | None) -> Trade:
    number = _scalar(wire.id)
    if number == NULL:
        raise BadDelivery("shape")
    return Trade(
        parties=parties,
        id=number,
        price=_scalar(wire.price),
        volume=_scalar(wire.volume, wire.amount),
        funds=_scalar(wire.funds, wire.total),
        market_id=_scalar(wire.market_id, wire.market),
        created_at=_scalar(wire.created_at, wire.at),
        taker_type=_scalar(wire.taker_type),
        verbatim=verbatim,
    )


def _scalar(raw: msgspec.Raw, instead: msgspec.Raw | None = None) -> bytes:
    """This JSON text if it is a number, a text or a truth value; else the same of the other one; else `null`."""
    text = bytes(raw)
    if text and text[0] not in _NO_SCALAR:
        return text
    return NULL if instead is None else _scalar(instead)


def _trades(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    if text[:1] != b"[" or text == b"[]":
        return b"[]"
    try:
        rows = _decode_trades(raw)
    except msgspec.ValidationError:
        return b"[]"
    return msgspec.json.encode(
        [{name: msgspec.Raw(_scalar(row[name])) for name in row if name in _TRADE_FIELDS} for row in rows]
    )


def _difference(origin: bytes, remaining: bytes) -> bytes:
    """origin - remaining, exactly; a text if either is one; `null` when one of them is no plain decimal."""
    first, second = _DECIMAL.fullmatch(origin), _DECIMAL.fullmatch(remaining)
    if not first or not second:
        return NULL
    value = _EXACT.subtract(decimal.Decimal(first[1].decode()), decimal.Decimal(second[1].decode()))
    text = f"{value:f}".encode()
    return b'"%b"' % text if b'"' in (origin[:1], remaining[:1]) else text


def _owner_in_headers(headers: Mapping[str, Any], uid: str, member_id: str) -> Owner | None:
    if not headers:
        return None
    value = headers.get(uid)
    return _as_uid(value) or _as_member_id(headers.get(member_id))


def _owner(uid: msgspec.Raw, member_id: msgspec.Raw) -> Owner | None:
    if uid and (owner := _as_uid(_decode_any(uid))):
        return owner
    return _as_member_id(_decode_any(member_id)) if member_id else None


def _as_uid(value: object) -> str | None:
    """Everything in a `*uid` is a uid, whatever it looks like."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _as_member_id(value: object) -> Owner | None:
    """A number or a text of digits is a member id; any other text in a `*member_id` is a uid."""
    number = member_id_of(value)
    if number is not None:
        return number
    return value.strip() or None if isinstance(value, str) and not value.isdigit() else None
