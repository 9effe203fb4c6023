"""What one client has yet to be sent, and the only place that writes to its socket.

Putting never waits. What the socket takes at once leaves in one write; what it does not goes through a gevent queue to
a writer greenlet of this client's own, in order, and a client that takes too little too slowly is hung up on. Knows
frames only by their length; knows nothing of protocols and events.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import gevent
import gevent.queue

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.transport.compression import Compression, Variants
from peatio_ws.transport.frames import binary_frame, close_frame, frame_end, text_frame

if TYPE_CHECKING:
    import gevent.socket

CLOSE_SECONDS: Final = 5.0
"""How long a client may take to answer a close frame, and to take what comes before it."""
SLICE: Final = 65_536
"""Bytes the writer greenlet hands to the socket at a time."""
WAIT_STEP: Final = 0.01
LINGER: Final = 1.0
"""Seconds a writer greenlet waits for more before it ends."""
TLS_RECORD: Final = 16_384
"""The longest TLS record (RFC 8446 section 5.1)."""
NEVER: Final = sys.maxsize
"""No frame is that long."""
WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)
NOT_SENT_BYTES: Final = 131_072
"""TCP_NOTSENT_LOWAT: what the kernel holds back for a client that does not read, instead of some MB."""


class Outbox:
    """Frames on their way to one socket.

    Args:
        sock: an upgraded gevent socket, TLS or not; nobody else may write to it.
        limit: bytes that may wait for a client that does not read; more, and it is closed with 4413.
        send_timeout: seconds in which such a client has to take something.

        compression: how texts are compressed; None if that was not negotiated.

    Attributes:
        size: bytes waiting.
        sent: bytes the socket took.
        closing: code of the close frame that was put in last; 0 before. After it nothing more is taken.
        deadline: monotonic time at which a closing connection is cut.
    """

    __slots__ = (
        "_blob",
        "_blob_sent",
        "_first",
        "_in_flight",
        "_is_tls",
        "_more",
        "_queue",
        "_send_now",
        "_sock",
        "closing",
        "compression",
        "deadline",
        "ended",
        "limit",
        "send_timeout",
        "sent",
        "size",
    )

    def __init__(
        self, sock: gevent.socket.socket, limit: int, send_timeout: float, compression: Compression | None = None
    ) -> None:
        self._sock: Any = sock
        # What is below gevent's socket never waits: the plain socket, and OpenSSL's object on it.
        self._is_tls = hasattr(sock, "do_handshake")
        self._send_now = _by_record(self._sock._sslobj.write) if self._is_tls else self._sock._sock.send
        self.limit, self.send_timeout = limit, send_timeout
        self.compression = compression
        self._first: bytes | None = None  # what was put in first since the last flush; None once closing
        self._more: list[bytes] | None = None  # and what after it: seldom anything
        self._queue: gevent.queue.SimpleQueue[bytes] | None = None  # there while a writer greenlet is
        self._blob, self._blob_sent, self._in_flight = b"", 0, 0  # what the writer is at
        self.size = self.sent = 0
        self.closing = 0
        self.ended = False  # half-close once everything is written
        self.deadline = 0.0

    def put(self, frames: bytes) -> None:
        """Add whole frames, to leave at the next `flush`."""
        if self._first is not None:
            if self._more is None:
                self._more = []
            self._more.append(frames)
        elif not self.closing:
            self._first = frames

    def flush(self) -> None:
        """Hand over all that was put in. Never waits, never raises."""
        data = self._first
        if data is None:
            return
        self._first = None
        if self._more is not None:
            data = b"".join((data, *self._more))
            self._more = None
        self._write_now(data)

    def send(self, frames: bytes) -> None:
        """`put` and `flush`."""
        if self._first is not None:
            self.put(frames)
            self.flush()
        elif not self.closing:
            self._write_now(frames)

    def send_text(self, payload: bytes) -> None:
        """`send` a text, compressed if that was negotiated and makes it smaller."""
        frame, compression = text_frame(payload), self.compression
        if compression is not None and len(payload) > compression.threshold:
            frame = compression.compress(frame)
        self.send(frame)

    def send_binary(self, payload: bytes) -> None:
        """`send` a binary message, which is never compressed."""
        self.send(binary_frame(payload))

    def _write_now(self, data: bytes) -> None:
        """Whole frames to the socket if it takes them all at once, else the rest to the writer greenlet."""
        if self._queue is not None:
            self.size += len(data)
            self._queue.put(data)
            self._check_limit()
            return
        taken = 0
        try:
            taken = self._send_now(data)
        except WOULD_BLOCK:
            pass
        except OSError:
            self._on_broken()  # the reader finds out by itself
            return
        self._on_written(data, taken)

    def _on_written(self, data: bytes, taken: int) -> None:
        """The socket took so much of it at once; of TLS that was a record, and it may take more."""
        if 0 < taken < len(data) and self._is_tls:
            taken = self._write_records(data, taken)
        self.sent += taken
        if taken < len(data):
            self.size = len(data) - taken
            self._blob, self._blob_sent = data, taken
            self._in_flight = min(taken + TLS_RECORD, len(data)) if self._is_tls else taken
            self._queue = gevent.queue.SimpleQueue()
            gevent.spawn(self._run_writer, self._queue)
            self._check_limit()
        elif self.ended:
            self._half_close()

    def _write_records(self, data: bytes, taken: int) -> int:
        """Write what the TLS socket takes at once of the rest. Return how much it has taken in all."""
        view = memoryview(data)
        with contextlib.suppress(OSError):  # a connection that is broken is found out by the writer greenlet
            while taken < len(data):
                taken += self._send_now(view[taken:])
        return taken

    def _check_limit(self) -> None:
        if self.size > self.limit and not self.closing:
            self.close(Close.TOO_SLOW, f"too slow: more than {self.limit} bytes waiting", cut=True)

    def wait(self, most: int) -> bool:
        """Wait until no more than so many bytes are left to be taken; False if the connection closes.

        For a greenlet that has much to send at the client's own wish. Looked at now and then rather than told, so that
        nothing of it is in the way of all other writing.
        """
        while self.size > most and not self.closing:
            gevent.sleep(WAIT_STEP)
        return not self.closing

    def close(self, code: int, reason: str | None = None, cut: bool = False) -> None:
        """Put in a close frame, the last frame of all; a second time does nothing.

        Args:
            code: see `errors.Close`.
            reason: for the client; by default the code's own.
            cut: drop whole frames that still wait, so that the close frame is next.
        """
        if self.closing:
            return
        if cut:
            self._drop_waiting()
        text = reason if reason is not None else REASONS[Close(code)]
        self.put(close_frame(code, text))
        self.closing = code
        self.deadline = time.monotonic() + CLOSE_SECONDS
        self.flush()

    def end(self, code: int) -> None:
        """Nothing comes after what was put in: half-close the socket as soon as that is written."""
        if not self.closing:
            self.closing = code
            self.deadline = time.monotonic() + CLOSE_SECONDS
        self.ended = True
        if self._first is not None:
            self.flush()
        elif self._queue is None:
            self._half_close()

    def abort(self) -> None:
        """Cut the connection, whatever waits; the reader wakes up with end of file."""
        if not self.closing:
            self.closing = 1006
        self._on_broken()
        self._shutdown(socket.SHUT_RDWR)

    def _run_writer(self, queue: gevent.queue.SimpleQueue[bytes]) -> None:
        """The writer greenlet: everything that waits, in order, then `LINGER`."""
        while True:
            try:
                self._write_blob()
                if self.ended and queue.empty():
                    break
                self._blob = queue.get(timeout=LINGER)
                self._blob_sent = self._in_flight = 0
            except gevent.queue.Empty:
                if queue.empty():  # something may have come in the very turn of the loop in which the wait ended
                    break
            except TimeoutError:
                if self.closing and time.monotonic() >= self.deadline:
                    self.abort()
                    break
                self.close(Close.TOO_SLOW, f"too slow: nothing taken for {self.send_timeout:g} s", cut=True)
            except OSError:
                self._on_broken()
                break
        # No switch between the last look into the queue and this line: nothing is left behind in it.
        self._queue = None
        self._blob = b""
        if self.ended:
            self._half_close()

    def _write_blob(self) -> None:
        while self._blob_sent < len(self._blob):
            self._in_flight = min(self._blob_sent + SLICE, len(self._blob))
            piece = memoryview(self._blob)[self._blob_sent : self._in_flight]
            # Once closing, the deadline counts: the close frame gets its time, whatever the send timeout.
            patience = self.deadline - time.monotonic() if self.closing else self.send_timeout
            # The socket's own timeout is the reader's; gevent's send() takes no other for plain sockets (26.9.0).
            with gevent.Timeout(max(patience, 0), TimeoutError):
                taken = self._sock.send(piece)
            self._blob_sent += taken
            self.sent += taken
            self.size -= taken

    def _drop_waiting(self) -> None:
        """Forget all frames of which no byte was handed to the socket. Not the answer to the handshake."""
        first = self._first or b""
        self._first, self._more = first[: frame_end(first, 0)] or None, None
        if self._queue is None:
            return
        while not self._queue.empty():
            self._queue.get_nowait()
        self._blob = self._blob[: frame_end(self._blob, self._in_flight)]
        self.size = len(self._blob) - self._blob_sent

    def _on_broken(self) -> None:
        self._first = self._more = None
        self._drop_waiting()
        self.size = 0
        if not self.closing:
            self.closing = 1006  # RFC 6455 section 7.1.5: never on the wire

    def _half_close(self) -> None:
        self._shutdown(socket.SHUT_WR)

    def _shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            # The one below: gevent's TLS socket forgets on shutdown() that it is one, under its reader (26.9.0).
            sock = self._sock._sock if self._is_tls else self._sock
            sock.shutdown(how)


def _by_record(write: Callable[[Any], int]) -> Callable[[Any], int]:
    """OpenSSL writes all that it is offered, or says that it cannot now: it may have sent part of it then, and wants
    all of it again. So it is offered one record at a time."""
    return lambda data: write(data if len(data) <= TLS_RECORD else memoryview(data)[:TLS_RECORD])


def put_all(
    frame: bytes | Variants, outboxes: Iterable[Outbox], touched: list[Outbox], compress_over: int = NEVER
) -> int:
    """`put` for many; those for which it is the first since their last flush are appended to `touched`.

    As one loop, here and in `flush_all`: with a call for each outbox a delivery to a thousand costs a tenth more.

    Args:
        frame: whole frames of texts, or variants of them that were made before.
        compress_over: frames that are longer, in bytes, are compressed for outboxes that negotiated it.

    Returns:
        How many take nothing any more.
    """
    if not isinstance(frame, bytes):
        return _put_variants(frame, outboxes, touched)
    if len(frame) > compress_over:
        return _put_variants(Variants(frame), outboxes, touched)
    refused = 0
    for outbox in outboxes:
        if outbox._first is None:
            if not outbox.closing:
                outbox._first = frame
                touched.append(outbox)
            else:
                refused += 1
        elif outbox._more is None:
            outbox._more = [frame]
        else:
            outbox._more.append(frame)
    return refused


def _put_variants(frames: Variants, outboxes: Iterable[Outbox], touched: list[Outbox]) -> int:
    """As above, with each outbox's variant."""
    refused, plain = 0, frames[None]
    for outbox in outboxes:
        frame = plain if outbox.compression is None else frames[outbox.compression]
        if outbox._first is None:
            if not outbox.closing:
                outbox._first = frame
                touched.append(outbox)
            else:
                refused += 1
        elif outbox._more is None:
            outbox._more = [frame]
        else:
            outbox._more.append(frame)
    return refused


def flush_all(outboxes: Iterable[Outbox]) -> None:
    """`flush` for many. Never waits, never raises."""
    for outbox in outboxes:
        data, send = outbox._first, outbox._send_now
        if data is None or outbox._more is not None or outbox._queue is not None:
            outbox.flush()
            continue
        outbox._first = None
        try:
            taken = send(data)
        except OSError:
            outbox._write_now(data)  # which finds out what it is
            continue
        if taken < len(data) or outbox.ended:
            outbox._on_written(data, taken)
        else:
            outbox.sent += taken
