"""Frames as a server sends them: whole, and not masked (RFC 6455 section 5).

Pure: takes and returns bytes. `decoder.py` reads a client's frames.
"""

from __future__ import annotations

from typing import Final

from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode


def text_frame(payload: bytes) -> bytes:
    """Return a text frame (RFC 6455 section 5.6), for any number of outboxes."""
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), payload)


def compressed_text_frame(payload: bytes) -> bytes:
    """Return a text frame whose payload is compressed: with the bit RSV1 set (RFC 7692 section 6)."""
    return b"\xc1%b" % text_frame(payload)[1:]


def binary_frame(payload: bytes) -> bytes:
    """Return a binary frame (RFC 6455 section 5.6)."""
    return Frame(Opcode.BINARY, payload).serialize(mask=False)


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; a reason that is too long is cut at 123 bytes (RFC 6455 section 5.5)."""
    fitting = reason.encode(errors="replace")[:123].decode(errors="ignore")
    return Frame(Opcode.CLOSE, CloseFrame(code, fitting).serialize()).serialize(mask=False)


PING: Final = Frame(Opcode.PING, b"").serialize(mask=False)


def frame_end(frames: bytes, at: int) -> int:
    """Return the end of the frame that contains the byte before `at`, in whole unmasked frames; 0 for 0.

    The answer to the handshake may precede the first frame, and counts as part of it.
    """
    end = frames.index(b"\r\n\r\n") + 4 if frames.startswith(b"HTTP/") else 0
    while end < at:
        _, end = payload_at(frames, end)
    return end


def payload_at(frames: bytes, at: int) -> tuple[int, int]:
    """Return the start and the end of the payload of the unmasked frame that begins at `at`."""
    size, start = frames[at + 1], at + 2
    if size == 126:
        size, start = int.from_bytes(frames[at + 2 : at + 4]), at + 4
    elif size == 127:
        size, start = int.from_bytes(frames[at + 2 : at + 10]), at + 10
    return start, start + size
