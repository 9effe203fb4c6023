"""What a trace says of the frames of a connection: which event or reply, how long, and the text without tokens.

Pure. docs/operator-api.md describes the result.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from websockets.frames import Opcode

from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.stream_syntax import client_name
from peatio_ws.transport.frames import frame_end, payload_at

MOST_CHARACTERS: Final = 16_384
"""Of a text that is shown."""
MOST_NAME: Final = 128
"""Characters of a name that a client chose."""

_NAME: Final = re.compile(rb'\s*\{\s*("(?:[^"\\]|\\.)*")\s*:')
_PLACE: Final = re.compile(rb',"(cursor|mark)":"([^"\\]+)"\}\Z')
_RESUME: Final = re.compile(rb'"resume":\{"cursor":"([^"\\]+)","complete":(true|false)\}')
_TAIL: Final = 512
"""Bytes at the end of a text that have its cursor or mark."""
_TOKEN: Final = re.compile(
    r"(?<![\w.-])((?:(?!eyJ)[\w.-])*+)eyJ[\w-]*+\.[\w.-]*+|(?<=bearer)\s+[^\s\"\\]+", re.IGNORECASE
)
"""A JWT (RFC 7519 section 3; its header begins with `{"`), with what precedes it in the same word as a group; or what
follows the scheme `Bearer`. Each word is read once: a client chooses how many `eyJ` it has."""
_SECRET: Final = re.compile(r"jwt|token|bearer|authorization|password|secret|api_?key", re.IGNORECASE)
"""A message of a client with one of these words is not shown."""


class SentFrame(NamedTuple):
    """A frame on its way to a client.

    Attributes:
        payload: decompressed.
    """

    opcode: int
    payload: bytes


def frames_in(data: bytes) -> Iterator[SentFrame]:
    """Return the frames in whole unmasked frames, which the answer to the handshake may precede."""
    for at, start, end in _places(data):
        payload = data[start:end]
        if data[at] & 0x40:  # RSV1: compressed (RFC 7692 section 6)
            payload = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + b"\x00\x00\xff\xff")
        yield SentFrame(data[at] & 0x0F, payload)


def count_frames(data: bytes) -> int:
    """Return the number of frames in whole frames."""
    return sum(1 for _ in _places(data))


def event_names(protocol: str, streams: Iterable[str]) -> frozenset[str]:
    """Return the names under which a client receives events without a dot in their name.

    Args:
        protocol: `classic`, `ranger` or `handler`.
        streams: those that it is subscribed to.
    """
    classic = ("orderbook", "trade") if protocol == Dialect.CLASSIC.value else ()
    return frozenset((*classic, *map(client_name, streams)))


def sent(frame: SentFrame, names: Container[str]) -> tuple[str, dict[str, Any]]:
    """Return `delivered` for an event or `sent` for any other message, and the fields of the line.

    Args:
        names: see `event_names`.
    """
    payload = frame.payload
    size = {"bytes": len(payload)}
    if frame.opcode == Opcode.BINARY:
        return "sent", {"what": "binary", **size}
    name = _name_of(payload)
    if name is None:
        return "sent", {"what": "pong" if payload == b"pong" else "message", **size}
    if name in names or "." in name:
        place = _PLACE.search(payload, max(0, len(payload) - _TAIL))
        return "delivered", {"stream": name, **size, **({place[1].decode(): place[2].decode()} if place else {})}
    return "sent", {"what": name[:MOST_NAME], **size}


def resumed(payload: bytes) -> dict[str, Any] | None:
    """Return the cursor in a reply and whether it is complete; None if there is none."""
    found = _RESUME.search(payload)
    return {"complete": found[2] == b"true", "cursor": found[1].decode()} if found else None


def received(message: str | bytes) -> tuple[str, str | None]:
    """Return what a client's message is, and the text to show; None if it is binary or may contain a token."""
    if not isinstance(message, str):
        return "binary", None
    if message.strip() == "ping":
        return "ping", message
    try:
        content: Any = msgspec.json.decode(message)
        whole = msgspec.json.encode(content).decode()  # without escapes, which could hide a word
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        content, whole = None, message.replace("\\", "token")
    what = "message"
    if isinstance(content, dict):
        event = content.get("event")
        what = "jwt" if "jwt" in content else event[:MOST_NAME] if isinstance(event, str) else what
    return what, None if what == "jwt" or _SECRET.search(whole) or _TOKEN.search(whole) else message


def body(text: str | bytes) -> dict[str, Any]:
    """Return the fields with a text, cut to `MOST_CHARACTERS`, and without anything that looks like a token."""
    some = text[: 4 * MOST_CHARACTERS + 4]
    whole = _TOKEN.sub(r"\1(token)", some if isinstance(some, str) else some.decode(errors="replace"))
    is_cut = len(whole) > MOST_CHARACTERS or len(some) < len(text)
    return {"body": whole[:MOST_CHARACTERS], **({"cut": True} if is_cut else {})}


def _places(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Return where each frame begins, and where its payload begins and ends."""
    at = frame_end(data, 1) if data.startswith(b"HTTP/") else 0
    while at < len(data):
        start, end = payload_at(data, at)
        yield at, start, end
        at = end


def _name_of(payload: bytes) -> str | None:
    """Return the first key of a JSON object; None for any other text."""
    found = _NAME.match(payload)
    if found is None:
        return None
    try:
        return str(msgspec.json.decode(found[1]))
    except msgspec.MsgspecError:
        return None
