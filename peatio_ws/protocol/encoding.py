"""Texts of replies, and the envelopes of events, for classic and ranger clients (contract sections 1 and 2).

Pure. JSON texts out. The bodies of private events are encoded by their kinds (`private_events/`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from peatio_ws.close_codes import retry_reason
from peatio_ws.errors.base import in_utf8


class Dialect(enum.Enum):
    """The two client protocols."""

    CLASSIC = "classic"
    RANGER = "ranger"

    __hash__ = object.__hash__  # Enum's own is written in Python, and runs for each event


# ---- replies

AUTHENTICATED: Final = b'{"success":{"message":"Authenticated."}}'
AUTHENTICATION_FAILED: Final = b'{"error":{"message":"Authentication failed."}}'
NO_BEARER: Final = b'{"error":{"message":"Token type is not provided or invalid."}}'
NOT_UNDERSTOOD: Final = b'{"error":{"message":"Error while handling message."}}'
TOKEN_EXPIRED: Final = b'{"error":{"message":"Token expired."}}'
NO_STREAMS: Final = b'{"error":"No streams provided"}'
STREAMS_NOT_TEXTS: Final = b'{"error":"Streams must be an array of strings"}'
AFTER_NOT_MARKS: Final = b'{"error":"after must be an object with a mark, or null, for each stream"}'
NO_ROOM_FOR_NAMES: Final = b'{"error":"too many streams: this server has no room for more names; try again later"}'
UNKNOWN_EVENT: Final = b'{"error":"Could not parse Type: Invalid event"}'
PONG: Final = b"pong"


def challenge(nonce: str) -> bytes:
    """Return the first frame of a classic connection. The nonce is 40 random bytes, url-safe."""
    return b'{"challenge":"%b"}' % nonce.encode()


def not_understood(dialect: Dialect, why: str) -> bytes:
    """Return the reply to a message that is not a JSON object."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else _ranger_error(f"Could not parse message: {why}")


def unknown_event(dialect: Dialect) -> bytes:
    """Return the reply to an object without a known request."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else UNKNOWN_EVENT


def try_later(why: str, seconds: int) -> bytes:
    """Return the reply to a token that cannot be verified for some seconds but may be valid. Clients recognize it by
    the key `retry_after`."""
    return msgspec.json.encode({"error": {"message": retry_reason(why, seconds), "retry_after": seconds}})


def error(dialect: Dialect, text: str) -> bytes:
    """Return an error that a handler raised for its client."""
    return (
        _ranger_error(text) if dialect is Dialect.RANGER else msgspec.json.encode({"error": {"message": in_utf8(text)}})
    )


def failed(dialect: Dialect) -> bytes:
    """Return the reply to a message on which a handler failed. Only the log has the details."""
    return NOT_UNDERSTOOD if dialect is Dialect.CLASSIC else _ranger_error("Error while handling message")


def subscribed(streams: Iterable[str]) -> bytes:
    """Return the reply to a subscription, with all current streams."""
    return msgspec.json.encode({"success": {"message": "subscribed", "streams": list(streams)}})


def unsubscribed(streams: Iterable[str]) -> bytes:
    """Return the reply to the end of a subscription, with all remaining streams."""
    return msgspec.json.encode({"success": {"message": "unsubscribed", "streams": list(streams)}})


def cannot_subscribe(stream: str) -> bytes:
    """Return the refusal of a stream: the client may not have it, or the name is invalid. Long names are cut."""
    return _ranger_error(f"cannot subscribe to {stream if len(stream) <= 128 else stream[:128] + '…'}")


def too_many_streams(most: int) -> bytes:
    """Return the refusal of all streams of a message."""
    return _ranger_error(f"too many streams: a connection has {most} at most")


def notice(text: str) -> bytes:
    """Return an operator's notice."""
    return msgspec.json.encode({"notice": {"message": text}})


def with_echo(payload: bytes, echo: bytes) -> bytes:
    """Add the `echo` of the client's message to a direct answer, as its last key (contract section 2).

    Args:
        payload: a JSON object.
        echo: JSON; empty if the message had none.
    """
    if not echo:
        return payload
    before = payload[:-1].rstrip()
    return b'%b%b"echo":%b}' % (before, b"" if before == b"{" else b",", echo)


def _ranger_error(text: str) -> bytes:
    return msgspec.json.encode({"error": in_utf8(text)})


# ---- resuming (contract section 5)


def resumed(payload: bytes, cursor: str, complete: bool) -> bytes:
    """Add a cursor to a success frame, and whether all missed events follow."""
    return b"%b,%b" % (payload[:-1], resume(cursor, complete)[1:])


def resume(cursor: str, complete: bool) -> bytes:
    """Return a frame with a cursor only, and whether the client has received everything before it."""
    return b'{"resume":{"cursor":"%b","complete":%b}}' % (cursor.encode(), b"true" if complete else b"false")


def with_cursor(payload: bytes, cursor: str) -> bytes:
    """Add a cursor to an event, for a client that resumes."""
    return b'%b,"cursor":"%b"}' % (payload[:-1], cursor.encode())


# ---- marks of trades streams (docs/protocol.md, "Trades across a cut")


def with_marks(payload: bytes, complete: Mapping[str, bool], marks: Mapping[str, str]) -> bytes:
    """Add to the reply to a subscription whether all missed events follow, and the marks of streams that begin anew."""
    parts = {"complete": complete, "marks": marks}
    return b"".join(
        [
            payload[:-1],
            *(b',"%b":%b' % (name.encode(), msgspec.json.encode(part)) for name, part in parts.items() if part),
            b"}",
        ]
    )


def incomplete(stream: str) -> bytes:
    """Return a frame by which a client learns that events of a stream may be missing."""
    return msgspec.json.encode({"complete": {stream: False}})


def with_mark(payload: bytes, mark: str) -> bytes:
    """Add a mark to an event, for a client that asked for marks."""
    return b'%b,"mark":"%b"}' % (payload[:-1], mark.encode())


# ---- envelopes of events


def orderbook(body: bytes) -> bytes:
    """Wrap a book change for classic clients."""
    return b'{"orderbook":%b}' % body


def stream_event(stream: str, body: bytes) -> bytes:
    """Wrap an event of a stream, whose body stays as published. The name is quoted as JSON."""
    return b"{%b:%b}" % (msgspec.json.encode(stream), body)
