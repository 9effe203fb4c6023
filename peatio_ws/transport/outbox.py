"""The frames that wait for one client, and the only code that writes to its socket.

Putting never waits. What the socket accepts at once is sent in one write. The rest goes through a gevent queue to a
writer greenlet of this client, in order. A client that reads too little or too slowly is disconnected. Knows frames
only by their length; knows nothing of protocols and events.
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
"""Time limit for a client to read what precedes a close frame, and to answer it."""
SLICE: Final = 65_536
"""Bytes that the writer greenlet passes to the socket at a time."""
WAIT_STEP: Final = 0.01
LINGER: Final = 1.0
"""Seconds that a writer greenlet waits for more before it ends."""
TLS_RECORD: Final = 16_384
"""The longest TLS record (RFC 8446 section 5.1)."""
NEVER: Final = sys.maxsize
"""Longer than any frame."""
WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)
NOT_SENT_BYTES: Final = 131_072
"""TCP_NOTSENT_LOWAT: limits what the kernel holds for a client that does not read, instead of some MB."""
FRESH_BYTES: Final = 4_096
"""The same for a client to which only the newest matters: what waits in the kernel makes it late."""


class Outbox:
    """Frames on their way to one socket.

    Args:
        sock: an upgraded gevent socket, TLS or not; no other code may write to it.
        limit: bytes that may wait for a client that does not read; above it, the client is closed with 4413.
        send_timeout: seconds within which such a client has to read something.
        compression: how texts are compressed; None if it was not negotiated.

    Attributes:
        size: bytes waiting.
        sent: bytes that the socket accepted.
        closing: code of the close frame that was put in last; 0 before. After it, no frame is accepted.
        reason: of the close frame that `close` put in; None if it put in none.
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
        "reason",
        "send_timeout",
        "sent",
        "size",
    )

    def __init__(
        self, sock: gevent.socket.socket, limit: int, send_timeout: float, compression: Compression | None = None
    ) -> None:
        self._sock: Any = sock
        # The layers below gevent's socket, which never wait: the plain socket, and OpenSSL's object on it.
        self._is_tls = hasattr(sock, "do_handshake")
        self._send_now = self._sock._sslobj.write if self._is_tls else self._sock._sock.send
        self.limit, self.send_timeout = limit, send_timeout
        self.compression = compression
        self._first: bytes | None = None  # the first frame put in since the last flush; None once closing
        self._more: list[bytes] | None = None  # the frames after it: rarely any
        self._queue: gevent.queue.SimpleQueue[bytes] | None = None  # exists while a writer greenlet runs
        self._blob, self._blob_sent, self._in_flight = b"", 0, 0  # what the writer is sending
        self.size = self.sent = 0
        self.closing = 0
        self.reason: str | None = None
        self.ended = False  # half-close once everything is written
        self.deadline = 0.0

    def keep_fresh(self) -> None:
        """Let little wait in the kernel, so that `size` soon shows that the client reads too slowly."""
        with contextlib.suppress(OSError):  # a Unix socket
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, FRESH_BYTES)

    def has_room(self) -> bool:
        """Return whether at most half of the limit is taken, including what was put in since the last flush."""
        size = self.size
        if self._first is not None:
            size += len(self._first) + sum(map(len, self._more or ()))
        return size <= self.limit // 2

    def put(self, frames: bytes) -> None:
        """Add whole frames, to be sent by the next `flush`."""
        if self._first is not None:
            if self._more is None:
                self._more = []
            self._more.append(frames)
        elif not self.closing:
            self._first = frames

    def flush(self) -> None:
        """Send everything that was put in. Never waits, never raises."""
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
        """Write whole frames to the socket if it accepts them at once; leave the rest to the writer greenlet."""
        if self._queue is not None:
            self.size += len(data)
            self._queue.put(data)
            self._check_limit()
            return
        taken = 0
        try:
            # With TLS one record at a time: OpenSSL writes all it is offered, or reports that it cannot now. It may
            # then have sent a part, and requires the same data again.
            whole = not self._is_tls or len(data) <= TLS_RECORD
            taken = self._send_now(data if whole else memoryview(data)[:TLS_RECORD])
        except WOULD_BLOCK:
            pass
        except OSError:
            self._on_broken()  # the reader notices it separately
            return
        self._on_written(data, taken)

    def _on_written(self, data: bytes, taken: int) -> None:
        """The socket accepted some bytes at once. With TLS that was one record, and it may accept more."""
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
        """Write what the TLS socket accepts at once of the rest. Return the total number of bytes accepted."""
        view = memoryview(data)
        with contextlib.suppress(OSError):  # the writer greenlet notices a broken connection
            while taken < len(data):
                taken += self._send_now(view[taken : taken + TLS_RECORD])
        return taken

    def _check_limit(self) -> None:
        if self.size > self.limit and not self.closing:
            self.close(Close.TOO_SLOW, f"too slow: more than {self.limit} bytes waiting", cut=True)

    def wait(self, most: int) -> bool:
        """Wait until at most this many bytes are left to send. Return False if the connection closes.

        For a greenlet that sends much at the client's own request. It polls instead of being notified, so that all
        other writing has no extra cost.
        """
        while self.size > most and not self.closing:
            gevent.sleep(WAIT_STEP)
        return not self.closing

    def close(self, code: int, reason: str | None = None, cut: bool = False) -> None:
        """Put in a close frame, the last frame of all. Idempotent.

        Args:
            code: see `close_codes.Close`.
            reason: for the client; by default the code's own.
            cut: drop waiting frames that were not begun, so that the close frame is next.
        """
        if self.closing:
            return
        if cut:
            self._drop_waiting()
        self.reason = reason if reason is not None else REASONS[Close(code)]
        self.put(close_frame(code, self.reason))
        self.closing = code
        self.deadline = time.monotonic() + CLOSE_SECONDS
        self.flush()

    def end(self, code: int) -> None:
        """Half-close the socket as soon as everything put in is written. Nothing comes after it."""
        if not self.closing:
            self.closing = code
            self.deadline = time.monotonic() + CLOSE_SECONDS
        self.ended = True
        if self._first is not None:
            self.flush()
        elif self._queue is None:
            self._half_close()

    def abort(self) -> None:
        """Cut the connection, whatever is waiting. The reader wakes up with end of file."""
        if not self.closing:
            self.closing = 1006
        self._on_broken()
        self._shutdown(socket.SHUT_RDWR)

    def _run_writer(self, queue: gevent.queue.SimpleQueue[bytes]) -> None:
        """The writer greenlet: write everything that waits, in order, then wait `LINGER` seconds for more."""
        while True:
            try:
                self._write_blob()
                if self.ended and queue.empty():
                    break
                self._blob = queue.get(timeout=LINGER)
                self._blob_sent = self._in_flight = 0
            except gevent.queue.Empty:
                if queue.empty():  # a frame may have arrived in the same turn of the loop in which the wait ended
                    break
            except TimeoutError:
                if self.closing and time.monotonic() >= self.deadline:
                    self.abort()
                    break
                self.close(Close.TOO_SLOW, f"too slow: nothing taken for {self.send_timeout:g} s", cut=True)
            except OSError:
                self._on_broken()
                break
        # No switch between the last look into the queue and this line, so no frame is left in it.
        self._queue = None
        self._blob = b""
        if self.ended:
            self._half_close()

    def _write_blob(self) -> None:
        while self._blob_sent < len(self._blob):
            self._in_flight = min(self._blob_sent + SLICE, len(self._blob))
            piece = memoryview(self._blob)[self._blob_sent : self._in_flight]
            # While closing, only the deadline counts: the close frame gets its time, whatever the send timeout.
            patience = self.deadline - time.monotonic() if self.closing else self.send_timeout
            # The socket's own timeout belongs to the reader; gevent's send() takes no other for plain sockets (26.9.0).
            with gevent.Timeout(max(patience, 0), TimeoutError):
                taken = self._sock.send(piece)
            self._blob_sent += taken
            self.sent += taken
            self.size -= taken

    def _drop_waiting(self) -> None:
        """Drop all frames of which no byte was passed to the socket, except the answer to the handshake."""
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
            # The plain socket: on shutdown(), gevent's TLS socket drops its TLS state while its reader runs (26.9.0).
            sock = self._sock._sock if self._is_tls else self._sock
            sock.shutdown(how)


class WatchedOutbox(Outbox):
    """An outbox that passes everything it sends to a function, too.

    A class, not a flag, so that the others do nothing for it. Its `_more` is always a list: so `flush_all` leaves it to
    `flush`, and all data take the way through `_write_now`.
    """

    __slots__ = ()

    def flush(self) -> None:
        super().flush()
        self._more = []

    def _write_now(self, data: bytes) -> None:
        super()._write_now(data)
        if (watcher := _watchers.get(self)) is not None:
            watcher(data)


_watchers: Final[dict[Outbox, Callable[[bytes], object]]] = {}


def watch(outbox: Outbox, watcher: Callable[[bytes], object]) -> None:
    """Call a function with the whole frames that an outbox has sent, or queued for its client. It must not raise.

    The answer to the handshake may precede the first frame.
    """
    _watchers[outbox] = watcher
    outbox.__class__ = WatchedOutbox
    outbox._more = outbox._more or []


def unwatch(outbox: Outbox) -> None:
    """Undo `watch`. Idempotent."""
    if _watchers.pop(outbox, None) is not None:
        outbox.__class__ = Outbox
        outbox._more = outbox._more or None


def put_all(
    frame: bytes | Variants, outboxes: Iterable[Outbox], touched: list[Outbox], compress_over: int = NEVER
) -> int:
    """`put` into many outboxes. Append those for which it is the first since their last flush to `touched`.

    A single loop, here and in `flush_all`: a call for each outbox makes a delivery to a thousand a tenth slower.

    Args:
        frame: whole text frames, or variants of them made before.
        compress_over: longer frames, in bytes, are compressed for outboxes that negotiated it.

    Returns:
        How many outboxes accept nothing any more.
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
    """`put_all` with the variant of each outbox."""
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
    """`flush` many outboxes. Never waits, never raises."""
    for outbox in outboxes:
        data, send = outbox._first, outbox._send_now
        if data is None or outbox._more is not None or outbox._queue is not None or len(data) > TLS_RECORD:
            outbox.flush()
            continue
        outbox._first = None
        try:
            taken = send(data)
        except OSError:
            outbox._write_now(data)  # which handles the error
            continue
        if taken < len(data) or outbox.ended:
            outbox._on_written(data, taken)
        else:
            outbox.sent += taken
