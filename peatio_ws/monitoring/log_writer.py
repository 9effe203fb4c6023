"""Writes log lines to standard error or output without waiting for a reader that stalls.

Theory of operation. A write to a full pipe blocks the whole worker until the reader continues. So lines go into a
bounded buffer, and a native thread writes them. If the buffer is full, lines are dropped until the thread has written
all of it. One line then reports how many were dropped. Lines stay in order. The thread ends after `LINGER_SECONDS`
without work, so that gunicorn's master hardly ever forks a process with threads.

A file has no reader that could stall, so its lines are written at once, and none is lost in a crash.

Does not know gevent's loop or the content of a line.
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
"""Size of the buffer of each stream of a process: about 5,000 lines."""
PIECE_BYTES: Final = 4096
"""Size of a write. A pipe takes this much whole or not at all (PIPE_BUF), so lines of several workers never mix."""
LINGER_SECONDS: Final = 1.0
FLUSH_SECONDS: Final = 1.0
"""How long an ending process waits for the reader."""
RETRY_SECONDS: Final = 0.05

_start_thread: Final = monkey.get_original("_thread", "start_new_thread")
_new_lock: Final = monkey.get_original("_thread", "allocate_lock")
_new_reentrant_lock: Final = monkey.get_original("_thread", "RLock")
_sleep: Final = monkey.get_original("time", "sleep")

_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


class LogWriter:
    """A replacement for a text stream whose `write()` never waits.

    Args:
        stream: standard error or output.
        notice: returns the line, with its newline, that reports a number of dropped lines.
        most_bytes: size of the buffer.

    Attributes:
        dropped: lines dropped since the start of the process.
    """

    def __init__(self, stream: TextIO, notice: Callable[[int], str], most_bytes: int = MOST_BYTES) -> None:
        self._stream, self._notice, self._most = stream, notice, most_bytes
        self._encoding = stream.encoding or "utf-8"
        self._is_file = _is_file(stream)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Set the initial state; also after a fork, where the thread does not exist."""
        # Reentrant: a signal handler may log, too.
        self._lock, self._more = _new_reentrant_lock(), _new_lock()
        self._more.acquire()
        self._lines: deque[bytes] = deque()
        self._bytes = 0  # of these
        self._part = ""  # of a line
        self.dropped = self._unreported = 0
        self._thread = self._busy = self._dropping = False

    def write(self, text: str) -> int:
        """Add lines to the buffer, or drop them. An incomplete line is kept until its end arrives."""
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
            if self._unreported:
                # On a line of its own: a full disk may have cut off the last one, of this process or another worker.
                report = f"\n{self._notice(self._unreported)}".encode(self._encoding, "backslashreplace")
                if _write(fd, report):
                    self._unreported = 0
            if not _write(fd, data):
                self._drop(data.count(b"\n"))

    def writelines(self, lines: Iterable[str]) -> None:
        """Call `write` with each line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Add an incomplete line to the buffer, too. Does not wait; see `settle`."""
        if self._part:
            with self._lock:
                self._put(self._part)
                self._part = ""

    def settle(self, seconds: float) -> None:
        """Wait until everything is written, for up to this many seconds. Called at the end of a process."""
        self.flush()
        until = time.monotonic() + seconds
        while self._busy and time.monotonic() < until:
            _sleep(0.001)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute, such as `fileno` or `encoding`, from the stream."""
        return getattr(self._stream, name)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._unreported += lines

    def _wake(self) -> None:
        if self._thread:
            if self._more.locked():
                self._more.release()
            return
        with contextlib.suppress(RuntimeError):  # no thread can be started, or the process ends
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
        """Write all buffered lines, and the notice if lines were dropped."""
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
                return  # retried with the next line
            if piece and not _write(fd, b"".join(piece)):
                with self._lock:
                    self._drop(sum(line.count(b"\n") for line in piece))
            if not piece and not unreported:
                return

    def _piece(self) -> list[bytes]:
        """Return the lines of the next write."""
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
    """Write all data, however long that takes. Return whether it could be written."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # the stream was passed to us in non-blocking mode
            _sleep(RETRY_SECONDS)
        except OSError:
            return False
    return True


def dropped() -> int:
    """Return the number of lines that this process has dropped."""
    return sum(writer.dropped for writer in _writers)


def settle() -> None:
    """Wait for the readers of all streams. Called at the end of a process."""
    for writer in list(_writers):
        writer.settle(FLUSH_SECONDS)


def _after_fork() -> None:
    for writer in list(_writers):
        writer._reset()


os.register_at_fork(after_in_child=_after_fork)
