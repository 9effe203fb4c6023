"""How events and replies look to a classic and to a ranger client (contract sections 1 and 2).

Events in, JSON texts out. Frames, sockets and who gets what are others' business.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from peatio_ws.close_codes import later_reason
from peatio_ws.protocol.deliveries import details
from peatio_ws.protocol.event_kinds import NULL, Order, Trade


class Dialect(enum.Enum):
    """The two client protocols."""

    CLASSIC = "classic"
    RANGER = "ranger"


AUTHENTICATED: Final = b'{"success":{"message":"Authenticated."}}'
AUTHENTICATION_FAILED: Final = b'{"error":{"message":"Authentication failed."}}'
NO_BEARER: Final = b'{"error":{"message":"Token type is not provided or invalid."}}'
NOT_UNDERSTOOD: Final = b'{"error":{"message":"Error while handling message."}}'
TOKEN_EXPIRED: Final = b'{"error":{"message":"Token expired."}}'
NO_STREAMS: Final = b'{"error":"No streams provided"}'
STREAMS_NOT_TEXTS: Final = b'{"error":"Streams must be an array of strings"}'
NO_ROOM_FOR_NAMES: Final = b'{"error":"too many streams: this server has no room for more names; try again later"}'
UNKNOWN_EVENT: Final = b'{"error":"Could not parse Type: Invalid event"}'
PONG: Final = b"pong"


def challenge(nonce: str) -> bytes:
    """First frame of a classic connection; the nonce is 40 random bytes, url-safe."""
    return b'{"challenge":"%b"}' % nonce.encode()


def not_understood(dialect: Dialect, why: str) -> bytes:
    """Answer to a message that is no JSON object."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else _ranger_error(f"Could not parse message: {why}")


def unknown_event(dialect: Dialect) -> bytes:
    """Answer to an object that asks for nothing known."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else UNKNOWN_EVENT


def try_later(why: str, seconds: int) -> bytes:
    """Answer to a token that may be good, but cannot be looked at for so many seconds. By `retry_after` a client tells
    it from the answer to a token that failed."""
    return msgspec.json.encode({"error": {"message": later_reason(why, seconds), "retry_after": seconds}})


def error(dialect: Dialect, text: str) -> bytes:
    """A handler's own answer to what cannot be."""
    return (
        _ranger_error(text) if dialect is Dialect.RANGER else msgspec.json.encode({"error": {"message": _whole(text)}})
    )


def failed(dialect: Dialect) -> bytes:
    """Answer to a message on which a handler failed; what happened is in the log only."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else _ranger_error("Error while handling message")


def subscribed(streams: Iterable[str]) -> bytes:
    """Answer to a subscription, with all current streams."""
    return msgspec.json.encode({"success": {"message": "subscribed", "streams": list(streams)}})


def unsubscribed(streams: Iterable[str]) -> bytes:
    """Answer to its end, with all that are left."""
    return msgspec.json.encode({"success": {"message": "unsubscribed", "streams": list(streams)}})


def cannot_subscribe(stream: str) -> bytes:
    """A stream is not for this client, or no stream; of a name without end it repeats the beginning."""
    return _ranger_error(f"cannot subscribe to {stream if len(stream) <= 128 else stream[:128] + '…'}")


def too_many_streams(most: int) -> bytes:
    """None of the streams of a message was taken."""
    return _ranger_error(f"too many streams: a connection has {most} at most")


def _ranger_error(text: str) -> bytes:
    return msgspec.json.encode({"error": _whole(text)})


def _whole(text: str) -> str:
    """Without half a surrogate pair, which JSON can say and UTF-8 cannot; a client may have sent one."""
    return text.encode(errors="replace").decode()


def classic_order(order: Order) -> bytes:
    """An `Order` object of the classic protocol, always with all its fields, in the documented order."""
    says = details(order)
    volumes = b""
    if says.remaining_volume is not None:
        volumes += b',"remaining_volume":%b' % says.remaining_volume
    if says.executed_volume is not None:
        volumes += b',"executed_volume":%b' % says.executed_volume
    return (
        b'{"id":%b,"side":%b,"ord_type":%b,"price":%b,"avg_price":%b,"state":%b,"market_id":%b,"created_at":%b,'
        b'"origin_volume":%b,"trades_count":%b,"trades":%b%b}'
    ) % (
        order.id,
        says.side,
        says.ord_type,
        says.price,
        says.avg_price,
        says.state,
        says.market_id,
        _as_iso(says.created_at),
        says.origin_volume,
        says.trades_count,
        says.trades,
        volumes,
    )


def classic_trade(trade: Trade, side: str, order_id: bytes, ask: bytes | None, bid: bytes | None) -> bytes:
    """A `Trade` object of the classic protocol, for the party on that side.

    Args:
        side: `ask`, `bid`, `both`, or empty when nobody said.
        ask, bid: the receiver's own order on that side, as JSON; None for a side that is not the receiver's.
    """
    return b'{"id":%b,"price":%b,"volume":%b,"funds":%b,"market_id":%b,"created_at":%b,"side":%b,"order_id":%b%b%b}' % (
        trade.id,
        trade.price,
        trade.volume,
        trade.funds,
        trade.market_id,
        _as_iso(trade.created_at),
        b'"%b"' % side.encode() if side else NULL,
        order_id,
        b',"ask":%b' % ask if ask else b"",
        b',"bid":%b' % bid if bid else b"",
    )


def order_stub(order_id: bytes) -> bytes:
    """An order of which nothing is known but its id."""
    return b'{"id":%b}' % order_id


def order(dialect: Dialect, order: Order) -> bytes:
    """Frame of an order of the receiver's own."""
    if dialect is Dialect.RANGER:
        return b'{"order":%b}' % ranger_order(order)
    return orderbook(classic_order(order))


def resumed(payload: bytes, cursor: str, complete: bool) -> bytes:
    """A success frame with where the client is, and whether what it missed follows (contract section 5)."""
    return b"%b,%b" % (payload[:-1], resume(cursor, complete)[1:])


def resume(cursor: str, complete: bool) -> bytes:
    """Where a client is, on its own: what came before is complete, or may not be."""
    return b'{"resume":{"cursor":"%b","complete":%b}}' % (cursor.encode(), b"true" if complete else b"false")


def with_echo(payload: bytes, echo: bytes) -> bytes:
    """A direct answer, a JSON object, with the `echo` of the client's message as its last key (contract section 2).

    Args:
        echo: a JSON text; nothing if the message had none that is to be repeated.
    """
    if not echo:
        return payload
    return b'%b%b"echo":%b}' % (payload[:-1], b"" if payload == b"{}" else b",", echo)


def notice(text: str) -> bytes:
    """What an operator tells clients that want to be told."""
    return msgspec.json.encode({"notice": {"message": text}})


def with_cursor(payload: bytes, cursor: str) -> bytes:
    """An event for a client that resumes."""
    return b'%b,"cursor":"%b"}' % (payload[:-1], cursor.encode())


def orderbook(order: bytes) -> bytes:
    """Frame of an order, or of a book change, for a classic client."""
    return b'{"orderbook":%b}' % order


def trade(body: bytes) -> bytes:
    """Frame of a trade, for either dialect."""
    return b'{"trade":%b}' % body


def stream_event(stream: str, body: bytes) -> bytes:
    """Frame of a ranger event; the body goes as it came. The name is quoted as JSON."""
    return b"{%b:%b}" % (msgspec.json.encode(stream), body)


def ranger_order(order: Order) -> bytes:
    """An order under Peatio's later field names (its `Order#for_notify`)."""
    if order.verbatim:
        return order.body
    says = details(order)
    created = _as_unix(says.created_at)
    return (
        b'{"id":%b,"market":%b,"kind":%b,"side":%b,"ord_type":%b,"price":%b,"avg_price":%b,"state":%b,'
        b'"origin_volume":%b,"remaining_volume":%b,"executed_volume":%b,"at":%b,"created_at":%b,"updated_at":%b,'
        b'"trades_count":%b}'
    ) % (
        order.id,
        says.market_id,
        {b'"sell"': b'"ask"', b'"buy"': b'"bid"'}.get(says.side, NULL),
        says.side,
        says.ord_type,
        says.price,
        says.avg_price,
        says.state,
        says.origin_volume,
        says.remaining_volume or NULL,
        says.executed_volume or NULL,
        created,
        created,
        _as_unix(says.updated_at),
        says.trades_count,
    )


def ranger_trade(trade: Trade, side: str, order_id: bytes) -> bytes:
    """A trade under Peatio's later field names (its `Trade#for_notify`); with oneself it is the ask's."""
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
        _as_unix(trade.created_at),
        order_id,
    )


@functools.lru_cache(4096)
def _as_iso(moment: bytes) -> bytes:
    """Unix seconds as ISO 8601; everything else as it is."""
    if moment[:1] not in b"-0123456789":
        return moment
    try:
        seconds = float(moment)
        when = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return moment
    text = when.isoformat(timespec="seconds" if seconds.is_integer() else "milliseconds")
    return b'"%b"' % text.replace("+00:00", "Z").encode()


@functools.lru_cache(4096)
def _as_unix(moment: bytes) -> bytes:
    """An ISO 8601 text as Unix seconds; everything else as it is."""
    if moment[:1] != b'"':
        return moment
    try:
        when = datetime.fromisoformat(moment.strip(b'"').decode())
    except ValueError:
        return moment
    return b"%d" % (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
