"""Reads the headers of a delivery, and its offset if it comes from a stream, from its content header (AMQP 0-9-1
sections 4.2.6.1 and 4.2.5.5).

Pure: knows neither frames nor sockets.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from amqp.serialization import loads

OFFSET: Final = "x-stream-offset"
"""The header in which RabbitMQ sends the offset of a stream's message, and in which a consumer says where to begin."""
NO_HEADERS: Final[Mapping[str, Any]] = {}
HAS_HEADERS: Final = 0x2000
"""The flag of the property `headers`."""
_SHORT_TEXTS: Final = (0x8000, 0x4000)
"""The flags of the properties before it: content type and content encoding."""
_OFFSET_ENTRY: Final = b"\x0f" + OFFSET.encode() + b"l"
_SIZES: Final = dict(zip(b"VtbBsuUIifDlLdT", (0, 1, 1, 1, 2, 2, 2, 4, 4, 4, 5, 8, 8, 8, 8), strict=True))
"""Bytes of a value, by its type. Of all other types, the first four bytes are the number of the others."""
_UNREPRESENTABLE: Final = (ValueError, ArithmeticError, OSError, RecursionError)
"""What py-amqp (5.4.2) raises for times after the year 9999, as of publishers that use milliseconds, and for tables
nested a thousand times."""


def read_headers(buffer: bytes, place: int, flags: int) -> tuple[Mapping[str, Any], int | None]:
    """Return the headers without the offset, and the offset; None if there is none.

    Args:
        place: where the flags of the properties begin in the buffer.
        flags: the flags; `HAS_HEADERS` is among them.

    Raises:
        IndexError, struct.error, amqp.exceptions.FrameSyntaxError: the headers are malformed.
    """
    place += 2
    for flag in _SHORT_TEXTS:
        if flags & flag:
            place += 1 + buffer[place]
    start = place + 4
    end = start + int.from_bytes(buffer[place:start])
    last = end - len(_OFFSET_ENTRY) - 8
    if last >= start and buffer.startswith(_OFFSET_ENTRY, last):
        # RabbitMQ appends the offset last. Parsing it with the table would cost more than all the rest.
        return _table(buffer[start:last]), int.from_bytes(buffer[end - 8 : end])
    return split_offset(_table(buffer[start:end]))


def split_offset(headers: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    """Return headers without the offset, and the offset; None if there is none."""
    if OFFSET not in headers:
        return headers, None
    return {name: value for name, value in headers.items() if name != OFFSET}, headers[OFFSET]


@functools.lru_cache(4096)
def _table(entries: bytes) -> Mapping[str, Any]:
    """Parse the entries of a table. Cached, because a member's or market's headers repeat."""
    if not entries:
        return NO_HEADERS
    try:
        return _parsed(entries)
    except _UNREPRESENTABLE:
        return _parsed_one_by_one(entries)


def _parsed(entries: bytes) -> dict[str, Any]:
    headers: dict[str, Any] = loads("F", len(entries).to_bytes(4) + entries, 0)[0][0]
    return headers


def _parsed_one_by_one(entries: bytes) -> dict[str, Any]:
    """Parse the entries of a table. A value that py-amqp cannot represent is kept as bytes."""
    headers: dict[str, Any] = {}
    start = 0
    while start < len(entries):
        kind = start + 1 + entries[start]
        size = _SIZES.get(entries[kind])
        if size is None:
            size = 4 + int.from_bytes(entries[kind + 1 : kind + 5])
        end = kind + 1 + size
        try:
            headers |= _parsed(entries[start:end])
        except _UNREPRESENTABLE:
            headers[str(entries[start + 1 : kind], "utf-8", "replace")] = entries[kind + 1 : end]
        start = end
    return headers
