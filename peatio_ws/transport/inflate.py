"""Decompression of what a client sends (permessage-deflate, RFC 7692), limited to the longest message allowed.

Pure: takes and returns frames. `compression.py` compresses what the gateway sends, and negotiates.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.typing import ExtensionName

_TAIL: Final = b"\x00\x00\xff\xff"
"""The bytes that a sender omits at the end of a message (RFC 7692 section 7.2.1)."""
_END: Final = b"\x03\x00"
"""An empty last block. zlib reports the end of the data only if the message before it was complete."""
_BEHIND_A_LAST_BLOCK: Final = (b"", b"\x00")
"""Bytes that may follow if the sender has ended the data itself (RFC 7692 section 7.2.3.4)."""
_BITS: Final = 15
"""A decompressor with the largest window reads data compressed with any window."""


class Inflater(Extension):
    """Decompresses the messages of one connection, and limits the size of all its messages. It holds nothing between
    two messages, because clients agreed to `client_no_context_takeover`. The sans-IO core calls it with each frame
    before it checks the frame itself.

    Args:
        max_message_bytes: limit for a message, compressed or not. The core must accept frames of
            `longest_frame(max_message_bytes)`.

    Attributes:
        wire_bytes: length of the payload of the last frame as received.
    """

    name = ExtensionName("permessage-deflate")

    def __init__(self, max_message_bytes: int) -> None:
        self.wire_bytes = 0
        self._limit = max_message_bytes
        self._decompressor: Any = None  # exists within a compressed message
        self._size = self._wire_size = 0  # of the message so far, decompressed and as received

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return the frame with its payload decompressed.

        Args:
            max_size: ignored: it is about the frame as received.

        Raises:
            ProtocolError: the data is malformed, or the bit is set in a wrong frame.
            PayloadTooBig: the message is too long. At most one byte beyond the limit was decompressed.
        """
        del max_size
        self.wire_bytes = len(frame.data)
        if frame.opcode in CTRL_OPCODES:
            return frame  # the core rejects the bit
        if frame.opcode is not Opcode.CONT:
            self._size = self._wire_size = 0
            self._decompressor = zlib.decompressobj(-_BITS) if frame.rsv1 else None
        elif frame.rsv1:
            raise ProtocolError("RSV1 bit set in continuation frame")
        self._wire_size += len(frame.data)
        if self._wire_size > longest_frame(self._limit):  # empty blocks could go on forever
            raise PayloadTooBig(None, self._limit)
        compressed = self._decompressor is not None
        data = self._inflate(bytes(frame.data), frame.fin) if compressed else frame.data
        self._size += len(data)
        if self._size > self._limit:
            raise PayloadTooBig(None, self._limit)
        if frame.fin:
            self._decompressor = None
        return Frame(frame.opcode, data, frame.fin, False, frame.rsv2, frame.rsv3) if compressed else frame

    def encode(self, frame: Frame) -> Frame:
        """Return the frame unchanged. The core itself sends control frames only, which are never compressed."""
        return frame

    def _inflate(self, data: bytes, fin: bool) -> bytes:
        """Decompress some data. Return at most one byte beyond the limit."""
        decompressor, most = self._decompressor, self._limit - self._size + 1
        try:
            inflated: bytes = decompressor.decompress(data + _TAIL + _END if fin else data, most)
        except zlib.error:
            raise ProtocolError("malformed compressed data") from None
        if len(inflated) == most:
            return inflated
        behind = decompressor.unused_data
        if fin:
            if not decompressor.eof:
                raise ProtocolError("compressed data ends too early")
            behind = behind.removesuffix(_TAIL + _END)
        if behind not in _BEHIND_A_LAST_BLOCK:
            raise ProtocolError("data behind the last compressed block")
        return inflated


def longest_frame(max_message_bytes: int) -> int:
    """Return the longest compressed form of a message of the limit: incompressible data becomes a little longer."""
    return max_message_bytes + max_message_bytes // 1_000 + 64
