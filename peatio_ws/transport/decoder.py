"""Reads whole messages from a client's bytes; `websockets`' sans-IO core checks the frames (RFC 6455 section 5).

Takes bytes; returns messages, and bytes to answer with. Pure: knows nothing of sockets, time and Peatio.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from io import BytesIO
from typing import Final, Literal, NamedTuple

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from peatio_ws.concurrency.token_bucket import TokenBucket
from peatio_ws.transport.inflate import Inflater, longest_frame

SMALL_BYTES: Final = 1024
"""A fragment with fewer bytes counts as a small frame; the size limit of a message covers larger ones."""
SMALL_AT_ONCE: Final = 500
SMALL_A_SECOND: Final = 50
"""Control frames and small fragments that a client may send at once, and in a second after that. One that answers pings
sends two a minute."""
SMALL_FRAGMENT: Final = 64
"""A client may send a message of the limit in fragments of this size. Over a limit of 32,000 bytes for a message this
allows more small frames than the two numbers above, at once and in a second."""
POLICY: Final = 1008

_log = logging.getLogger("peatio_ws.frames")  # silences the log of the sans-IO core
_log.setLevel(logging.WARNING)
_Decoder: Final = codecs.getincrementaldecoder("utf-8")


class Ending(NamedTuple):
    """How a connection ended.

    Attributes:
        code: a plain number, of the first close frame of either side; 1006 without one (RFC 6455 section 7.1.5).
        reason: of the same frame. If the client sent it, it is any text.
        by: who sent it; `nobody` without one.
    """

    code: int
    reason: str
    by: Literal["client", "gateway", "nobody"]


class FrameDecoder(Protocol):
    """The core, with messages instead of frames. It answers pings and close frames itself, and fails the connection
    with 1002, 1007 or 1009; the answers are in `data_to_send()`.

    Args:
        max_message_bytes: limit for a message, checked at a frame's header, and during decompression.
        compressed: whether the client may send compressed messages.

    Attributes:
        small_frames: control frames and small fragments take its tokens; the reader refills it. Without a token, the
            connection fails with 1008. A frame of two bytes costs as much as a message, and nothing else limits their
            number.
        messages: the messages received, each with the answers to what preceded it, to be sent before its own. The
            reader removes them.
    """

    def __init__(self, max_message_bytes: int, compressed: bool = False) -> None:
        longest = longest_frame(max_message_bytes) if compressed else max_message_bytes
        super().__init__(SERVER, max_size=longest, logger=_log)
        self._inflater = Inflater(max_message_bytes) if compressed else None
        if self._inflater is not None:
            self.extensions.append(self._inflater)
        most = max(SMALL_AT_ONCE, max_message_bytes // SMALL_FRAGMENT)
        self.small_frames = TokenBucket(most, most * SMALL_A_SECOND // SMALL_AT_ONCE)
        self.messages: list[tuple[list[bytes], str | bytes]] = []
        self._joined: BytesIO | None = None  # a message in fragments; a list of them may be many times its size
        self._decoder: codecs.IncrementalDecoder | None = None  # of a text: detects invalid UTF-8 at once

    def receive(self, data: bytes) -> None:
        """Process bytes of the client; no bytes mean its end."""
        if data:
            self.receive_data(data)
        else:
            self.receive_eof()
        self.events.clear()  # the frames: `messages` has their content

    def recv_frame(self, frame: Frame) -> None:
        """The core calls this with each checked frame, and fails with 1007 on a UnicodeDecodeError."""
        if self._is_small(frame) and not self.small_frames.take():
            self.fail(POLICY, "too many frames")
            return
        if frame.opcode is Opcode.CLOSE:
            # websockets 17.4 answers a close between two fragments with 1002 (its compliance/README.rst says so), but
            # control frames may come there (RFC 6455 section 5.4), and a client may close at any time.
            self.current_size = None
        super().recv_frame(frame)
        if frame.opcode is Opcode.CONT:
            self._on_fragment(frame)
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._add(str(frame.data, "utf-8") if is_text else bytes(frame.data))
            else:
                self._joined, self._decoder = BytesIO(), _Decoder() if is_text else None
                self._on_fragment(frame)
        # The core keeps the last frame until the next one (websockets 17.4): often a token, for the whole connection.
        frame.data = b""

    def ending(self, own_code: int, own_reason: str | None) -> Ending:
        """Return how the connection ended.

        Args:
            own_code: see `Outbox.closing`; 1006 if the connection was cut.
            own_reason: of the first close frame, if this side sent it and the core did not make it.
        """
        received, sent = self.close_rcvd, self.close_sent
        if own_reason is not None:
            return Ending(int(own_code), own_reason, "gateway")
        if received is not None and (self.close_rcvd_then_sent or not own_code):
            return Ending(int(received.code), received.reason, "client")
        if own_code in (0, 1006):
            return Ending(1006, "", "nobody")
        return Ending(int(own_code), sent.reason if sent is not None else "", "gateway")

    def _is_small(self, frame: Frame) -> bool:
        """Return whether it is a small fragment, or a control frame other than the close frame."""
        size = len(frame.data) if self._inflater is None else self._inflater.wire_bytes
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            return not frame.fin and size < SMALL_BYTES
        return frame.opcode is not Opcode.CLOSE and size < SMALL_BYTES

    def _on_fragment(self, frame: Frame) -> None:
        joined, decoder = self._joined, self._decoder
        assert joined is not None  # the core fails on a continuation of nothing
        joined.write(frame.data)
        if decoder is not None:
            decoder.decode(bytes(frame.data), frame.fin)
        if frame.fin:
            data = joined.getvalue()
            self._add(data if decoder is None else str(data, "utf-8"))
            self._joined = self._decoder = None

    def _add(self, message: str | bytes) -> None:
        self.messages.append((self.data_to_send(), message))


class WatchedDecoder(FrameDecoder):
    """A decoder that passes messages, pings and pongs to a function, too.

    A class, not a flag, so that the others do nothing for it.
    """

    watcher: Callable[[Opcode, str | bytes], object]

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self.watcher(frame.opcode, b"")
        super().recv_frame(frame)

    def _add(self, message: str | bytes) -> None:
        self.watcher(Opcode.TEXT if isinstance(message, str) else Opcode.BINARY, message)
        super()._add(message)


def watch(decoder: FrameDecoder, watcher: Callable[[Opcode, str | bytes], object]) -> None:
    """Call a function with each message, ping and pong of the client as it arrives. It must not raise."""
    decoder.__class__ = WatchedDecoder
    assert isinstance(decoder, WatchedDecoder)
    decoder.watcher = watcher


def unwatch(decoder: FrameDecoder) -> None:
    """Undo `watch`. Idempotent."""
    if vars(decoder).pop("watcher", None) is not None:
        decoder.__class__ = FrameDecoder
