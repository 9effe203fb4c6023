"""What one client sends: its bytes become messages, a slice at a time. `outbox.py` is the other direction.

Knows no deadline, and sends nothing: the answers to frames (pongs, close frames) are the caller's to send.
"""

from __future__ import annotations

import time
from typing import Final

from websockets.protocol import State as ProtocolState

from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.transport.decoder import FrameDecoder
from peatio_ws.transport.receive import NOTHING_YET, Reader

SLICE_BYTES: Final = 512
"""Parsed before other greenlets may run: at most 85 frames, or 500 KB inflated, about 1 ms."""
MOST_UNREAD: Final = 64
"""Messages to parse while the handler is busy, or after the connection was closed."""


class Inbox:
    """The messages of one client.

    Args:
        reader: of the client's socket.
        decoder: has the messages, and the answers to frames.
        early: bytes that the client sent along with its request.

    Attributes:
        last_read: monotonic time of the client's last sign of life.
        received_bytes: including frame headers.
        waits: whether a greenlet, or the event loop in its place, waits for the client.
    """

    __slots__ = ("_read_ahead", "_unread", "decoder", "last_read", "reader", "received_bytes", "waits")

    def __init__(self, reader: Reader, decoder: FrameDecoder, early: bytes) -> None:
        self.reader, self.decoder = reader, decoder
        self.last_read = time.monotonic()
        self.received_bytes = 0
        self.waits = False
        self._read_ahead = early  # bytes that were read but not parsed
        self._unread = 0  # how many bytes the kernel held at the last check

    def read(self) -> None:
        """Read some bytes of the client, or its end. Lets others run in between, however fast the client sends."""
        self.waits = True
        try:
            let_others_run()
            if not self._read_ahead:
                try:
                    self._read_ahead = self.reader.receive()
                except OSError as error:
                    if error.errno is None:
                        raise  # not the socket's: a time limit around this call, ours or the handler's
                let_others_run()  # many clients may be ready at once; a time limit here loses nothing
        finally:
            self.waits = False
        self._on_slice()

    def poll(self) -> list[bytes]:
        """Read pending data while a handler is busy, so that pings are answered and the end is noticed. Never waits.

        Returns:
            The answers to frames, in their order.
        """
        decoder = self.decoder
        if decoder.state is not ProtocolState.OPEN:
            return []
        messages = decoder.messages
        if len(messages) >= MOST_UNREAD:
            unread = self.reader.unread()
            if unread != self._unread:  # there may be pongs in it
                self._unread, self.last_read = unread, time.monotonic()
            return []
        try:
            self._read_ahead = self._read_ahead or self.reader.receive_now()
            self._on_slice()
        except NOTHING_YET:
            pass  # earlier data may still need an answer
        except OSError:
            self.on_bytes(b"")
        while self._read_ahead and len(messages) < MOST_UNREAD:
            self._on_slice()
        if messages and self.decoder.state is not ProtocolState.OPEN:
            return []  # the client ended after a message that must be answered first
        found: list[bytes] = []
        for answers, _ in messages:
            found += answers
            answers.clear()
        return found + decoder.data_to_send()

    def wait_idle(self) -> None:
        """Wait for the client without a greenlet; see `Reader.wait_idle`."""
        self.waits = True
        self.reader.wait_idle()

    def discard(self) -> None:
        """Read and drop what the client sends until it ends."""
        self._read_ahead = b""
        self.reader.discard()

    def on_bytes(self, data: bytes) -> None:
        """Process bytes of the client, or its end (no bytes)."""
        decoder = self.decoder
        if decoder.state is ProtocolState.CLOSED:
            return
        if data:
            self.last_read = time.monotonic()
            decoder.small_frames.refill(self.last_read)
            self.received_bytes += len(data)
        decoder.receive(data)

    def _on_slice(self) -> None:
        self.on_bytes(self._read_ahead[:SLICE_BYTES])
        self._read_ahead = self._read_ahead[SLICE_BYTES:]
