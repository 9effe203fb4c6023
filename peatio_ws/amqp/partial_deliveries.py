"""Deliveries of which the buffer has only the first frames, until the rest arrives (AMQP 0-9-1 section 2.3.5.2).

Pure: frames in, frames out. Knows neither sockets nor what a delivery contains.
"""

from __future__ import annotations

import struct
from typing import Final

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
SHORTEST_HEADER: Final = 14
"""Bytes of a content header without properties."""
_BODY_SIZE: Final = struct.Struct(">4xQ").unpack_from
_FRAME: Final = struct.Struct(">BHI").pack
_END: Final = b"\xce"


class PartialDeliveries:
    """The partial deliveries of one connection: at most one per channel."""

    def __init__(self) -> None:
        self._parts: dict[int, list[bytes]] = {}  # by channel: payloads of method, content header and body frames
        self._missing: dict[int, int | None] = {}  # by channel: bytes of the body to come; None before the header

    def begin(self, channel: int, method: bytes) -> None:
        """Take the payload of a method frame that is followed by content."""
        self._parts[channel], self._missing[channel] = [method], None

    def add(self, kind: int, channel: int, payload: bytes) -> list[bytes] | None:
        """Take the next frame of a delivery that has begun on this channel.

        Returns:
            Once it is complete: the bytes of its frames, in pieces, with the whole body in one frame. Nothing while it
            is incomplete. None if no delivery has begun there, and the frame was not taken.

        Raises:
            OSError: the frame cannot follow the ones before.
        """
        if channel not in self._parts:
            return None
        parts, missing = self._parts[channel], self._missing[channel]
        if kind == HEADER and missing is None and len(payload) >= SHORTEST_HEADER:
            (missing,) = _BODY_SIZE(payload)
        elif kind == BODY and missing is not None and len(payload) <= missing:
            missing -= len(payload)
        else:
            raise OSError("unexpected frame from the broker")
        parts.append(payload)
        self._missing[channel] = missing
        if missing:
            return []
        del self._parts[channel], self._missing[channel]
        method, header, *body = parts
        pieces = [
            _FRAME(METHOD, channel, len(method)),
            method,
            _END,
            _FRAME(HEADER, channel, len(header)),
            header,
            _END,
        ]
        return pieces if not body else [*pieces, _FRAME(BODY, channel, sum(map(len, body))), *body, _END]
