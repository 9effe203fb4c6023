"""Log lines on their way to standard error or output, whose reader may stall.

Theory of operation. A write to a full pipe waits until its reader goes on, and with it the whole worker. So a line is
put into a bounded buffer, and a native thread writes it. If the buffer is full, lines are dropped until the thread has
written all of it; then one line tells how many were dropped. Lines stay in order. A thread that has had nothing to
write for `LINGER_SECONDS` ends, so that gunicorn's master hardly ever forks a process with threads.

A file has no reader that could stall: its lines are written at once. A process that crashes has written all of them.

Knows neither gevent's loop nor what a line says.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO

from gevent import monkey

MOST_BYTES: Final = 1_048_576
"""What waits for the reader, for each stream of a process: some 5,000 lines."""
PIECE_BYTES: Final = 4096
"""Written at a time: with so much a pipe takes all or nothing (PIPE_BUF), so lines of several workers never mix."""
LINGER_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 1.0
"""How long a process that ends waits for the reader."""
RETRY_SECONDS: Final = 0.05

_start_thread: Final = monkey.get_original("_thread", "start_new_thread")
_new_lock: Final = monkey.get_original("_thread", "allocate_lock")
_new_reentrant_lock: Final = monkey.get_original("_thread", "RLock")
_sleep: Final = monkey.get_original("time", "sleep")

_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


class LogWriter:
    """A text stream in the place of another one: `write()` never waits.

    Args:
        stream: standard error or output.
        notice: a line, with its end, that tells that so many lines were dropped.
        most_bytes: what may wait.

    Attributes:
        dropped: lines since the start of the process.
    """

    def __init__(self, stream: TextIO, notice: Callable[[int], str], most_bytes: int = MOST_BYTES) -> None:
        self._stream, self._notice, self._most = stream, notice, most_bytes
        self._encoding = stream.encoding or "utf-8"
        self._is_file = _is_file(stream)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Hold nothing, as at the start; also in a process that was forked, where the thread is not there."""
        # Reentrant: a signal handler may log, too.
        self._lock, self._more = _new_reentrant_lock(), _new_lock()
        self._more.acquire()
        self._lines: deque[bytes] = deque()
        self._bytes = 0  # of these
        self._part = ""  # of a line
        self.dropped = self._unreported = 0
        self._thread = self._busy = self._dropping = False

    def write(self, text: str) -> int:
        """Put lines into the buffer, or drop them. What is not a whole line yet is kept until it is."""
        with self._lock:
            whole, end, rest = text.rpartition("\n")
            if end or len(self._part) > PIECE_BYTES:
                self._put(self._part + whole + end)
                self._part = ""
            self._part += rest
        return len(text)

    def _put(self, text: str) -> None:
        data = text.encode(self._encoding, "backslashreplace")
        if self._is_file:
            self._write_now(data)
        elif self._dropping or self._bytes + len(data) > self._most:
            self._dropping = True
            self._drop(data.count(b"\n"))
        elif data:
            self._lines.append(data)
            self._bytes += len(data)
            self._busy = True
            self._wake()

    def _write_now(self, data: bytes) -> None:
        with contextlib.suppress(ValueError):  # the stream is closed: the process ends
            fd = self._stream.fileno()
            if self._unreported and _write(
                fd, self._notice(self._unreported).encode(self._encoding, "backslashreplace")
            ):
                self._unreported = 0
            if not _write(fd, data):
                self._drop(data.count(b"\n"))

    def writelines(self, lines: Iterable[str]) -> None:
        """Each as with `write`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Put what is not a whole line into the buffer, too. Does not wait: see `settle`."""
        if self._part:
            with self._lock:
                self._put(self._part)
                self._part = ""

    def settle(self, seconds: float) -> None:
        """Wait until all is written, for so many seconds at most. For the end of a process."""
        self.flush()
        until = time.monotonic() + seconds
        while self._busy and time.monotonic() < until:
            _sleep(0.001)

    def __getattr__(self, name: str) -> Any:
        """`fileno`, `isatty`, `encoding` and all else: the stream's own."""
        return getattr(self._stream, name)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines

    def _wake(self) -> None:
        if self._thread:
            if self._more.locked():
                self._more.release()
            return
        with contextlib.suppress(RuntimeError):  # no room for one, or the process ends
            self._thread = True
            _start_thread(self._run, ())
            return
        self._thread = False

    # ---- in the thread

    def _run(self) -> None:
        try:
            fd = self._stream.fileno()
            while True:
                self._write_all(fd)
                waited = self._more.acquire(True, LINGER_SECONDS)
                with self._lock:
                    if not waited and not self._lines:
                        self._thread = False
                        return
        except ValueError:  # the stream is closed: the process ends
            self._busy = False

    def _write_all(self, fd: int) -> None:
        """Write what there is; where lines were dropped, that they were."""
        while True:
            with self._lock:
                piece = self._piece()
                unreported = 0 if piece else self._unreported
                self._unreported -= unreported
                self._dropping = self._dropping and bool(piece)
                self._busy = bool(piece or unreported)
            if unreported and not _write(fd, self._notice(unreported).encode(self._encoding, "backslashreplace")):
                with self._lock:
                    self._unreported += unreported
                    self._busy = bool(self._lines)
                return  # it is tried again with the next line
            if piece and not _write(fd, b"".join(piece)):
                with self._lock:
                    self._drop(sum(line.count(b"\n") for line in piece))
            if not piece and not unreported:
                return

    def _piece(self) -> list[bytes]:
        """The next lines, as many as are written at a time."""
        piece, size = list[bytes](), 0
        while self._lines and (not piece or size + len(self._lines[0]) <= PIECE_BYTES):
            piece.append(self._lines.popleft())
            size += len(piece[-1])
        self._bytes -= size
        return piece


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _write(fd: int, data: bytes) -> bool:
    """Write all of it, however long that takes; whether it could be written."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever gave us the stream has made it so
            _sleep(RETRY_SECONDS)
        except OSError:
            return False
    return True


def dropped() -> int:
    """Lines that this process has dropped."""
    return sum(writer.dropped for writer in _writers)


def settle() -> None:
    """Wait for the readers of all streams; at the end of a process."""
    for writer in list(_writers):
        writer.settle(FLUSH_SECONDS)


def _after_fork() -> None:
    for writer in list(_writers):
        writer._reset()


os.register_at_fork(after_in_child=_after_fork)
