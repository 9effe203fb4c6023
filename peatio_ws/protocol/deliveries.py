"""Read a delivery from the broker into an event (contract section 3).

Pure. Chooses by exchange and routing key which kind of event a delivery is; each kind reads itself (`private_events/`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from peatio_ws.errors import BadDelivery, DeliveryFault
from peatio_ws.protocol.exchanges import ORDERBOOK, RANGER, TRADE, Delivery
from peatio_ws.protocol.message_fields import owner_in_body
from peatio_ws.protocol.private_events import order, trade
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.protocol.private_events.kinds import PRIVATE_EVENTS
from peatio_ws.protocol.private_events.member_event import MemberEvent
from peatio_ws.protocol.public_events import BookChange, PublicEvent

Event: TypeAlias = PrivateEvent | PublicEvent | BookChange

LONGEST_ROUTING_KEY: Final = 255
"""In bytes (AMQP 0-9-1 section 4.2.5.3)."""

_check_json = msgspec.json.Decoder(msgspec.Raw).decode


def read(delivery: Delivery, public: bool = False) -> Event:
    """Return the event that a delivery contains.

    Args:
        public: whether it came from the queue of public events, which is bound to `peatio.events.ranger` only.

    Raises:
        BadDelivery: it cannot be read.
    """
    try:
        if not delivery.body.isascii():
            delivery.body.decode()  # msgspec does not check the UTF-8 of the parts that it skips
        if public and delivery.exchange:
            return _read_ranger(delivery)
        return _READERS.get(delivery.exchange, _read_forwarded)(delivery)
    except UnicodeDecodeError:
        raise BadDelivery(DeliveryFault.JSON) from None
    except msgspec.ValidationError:
        raise BadDelivery(DeliveryFault.SHAPE) from None
    except (msgspec.DecodeError, RecursionError):
        raise BadDelivery(DeliveryFault.JSON) from None


def check_ranger_event(routing_key: str, body: bytes) -> None:
    """Raise ValueError if the gateway would drop this message to `peatio.events.ranger`."""
    if not routing_key.isascii() or len(routing_key) > LONGEST_ROUTING_KEY:
        raise ValueError(f"the routing key is not ASCII, or is longer than {LONGEST_ROUTING_KEY} bytes")
    try:
        read(Delivery(RANGER, routing_key, {}, body))
    except BadDelivery as bad:
        raise ValueError(f"the gateway would drop the message {routing_key!r}: {bad.advice}") from None


def _read_ranger(delivery: Delivery) -> Event:
    body = delivery.body
    match delivery.routing_key.split("."):
        case ["private", uid, name] if uid and name:
            return _read_private(uid, name, body)
        case ["public", market, name] if market and name:
            stream = f"{market}.{name}"
        case ["global", name] if name:
            stream = f"global.{name}"
        case [prefix, market, name] if prefix and market and name:
            stream = delivery.routing_key
        case _:
            raise BadDelivery(DeliveryFault.ROUTING_KEY)
    _check_json(body)
    return PublicEvent(stream, body)


def _read_private(uid: str, name: str, body: bytes) -> PrivateEvent:
    reader = PRIVATE_EVENTS.get(name)
    if reader is not None and (event := reader.read(uid, body)) is not None:
        return event
    _check_json(body)
    return MemberEvent(name, body, owners=(uid,))


# ---- exchanges of other names


class _Hints(msgspec.Struct, gc=False):
    """The fields by which an order and a trade differ."""

    ask_id: msgspec.Raw = msgspec.Raw()
    bid_id: msgspec.Raw = msgspec.Raw()
    member_id: msgspec.Raw = msgspec.Raw()
    order: msgspec.Raw = msgspec.Raw()
    uid: msgspec.Raw = msgspec.Raw()


_decode_hints = msgspec.json.Decoder(_Hints).decode
_ORDER_OWNERS: Final = ("uid", "member_id")


def _read_forwarded(delivery: Delivery) -> Event:
    """Read a private message of another exchange, which an operator bound to one of Peatio's. AMQP keeps the name of
    the first exchange, so the message itself must show what it is. If in doubt, it is dropped."""
    if not delivery.exchange:
        raise BadDelivery(DeliveryFault.EXCHANGE)
    body, headers = delivery.body, delivery.headers or {}
    wire = _decode_hints(body) if body.lstrip()[:1] == b"{" else _Hints()
    if delivery.routing_key.startswith("private."):
        uid = owner_in_body(wire.uid, msgspec.Raw())
        if any(name in headers for name in (*_ORDER_OWNERS, *trade.TRADE_OWNERS)):
            raise BadDelivery(DeliveryFault.EXCHANGE)
        if uid is not None and uid != delivery.routing_key.split(".")[1]:
            raise BadDelivery(DeliveryFault.EXCHANGE)
        return _read_ranger(delivery)
    is_order = any(name in headers for name in _ORDER_OWNERS) or bool(wire.uid or wire.member_id or wire.order)
    is_trade = any(name in headers for name in trade.TRADE_OWNERS) or bool(wire.ask_id or wire.bid_id)
    if is_order == is_trade:
        raise BadDelivery(DeliveryFault.EXCHANGE)
    event = order.from_orderbook(delivery) if is_order else trade.from_trade_exchange(delivery)
    if isinstance(event, BookChange):  # the message does not show that it is public
        raise BadDelivery(DeliveryFault.EXCHANGE)
    return event


_READERS: Final[dict[str, Callable[[Delivery], Event]]] = {
    ORDERBOOK: order.from_orderbook,
    TRADE: trade.from_trade_exchange,
    RANGER: _read_ranger,
}
