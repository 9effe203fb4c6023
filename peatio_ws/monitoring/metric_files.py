"""The files in which a worker keeps its figures, for all workers to read. Figures are expendable: where a file cannot
be written, they stay in memory, and nothing else comes to harm. Knows prometheus-client's files; knows no metric.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import weakref
from typing import BinaryIO, Final

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = structlog.get_logger("peatio_ws.monitoring.metric_files")

FIRST_BYTES: Final = 65_536
"""Of a new file, as prometheus-client has it."""
_USED: Final = struct.Struct("i")
"""A file begins with how much of it is used; entries come after `_EMPTY` bytes."""
_EMPTY: Final = 8
_MOST_BESIDE_A_KEY: Final = 28
"""What an entry takes: its length, up to 8 bytes of padding, two numbers."""

_open: weakref.WeakSet[MetricFile] = weakref.WeakSet()
_troubled_in = 0  # the process that has told of it; what the master could not write is no word of its workers


class MetricFile(MmapedDict):
    """prometheus-client's dict in a mapped file, that survives the loss of the file.

    prometheus-client (0.26.0) raises OSError at the increment of a counter where the folder is gone. On a full disk it
    maps what is not there, and writing to that ends the process (SIGBUS); here the space is taken first.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._pid, self._path = os.getpid(), filename
        try:
            if not read_mode:
                _reserve(filename, FIRST_BYTES)
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        except OSError as error:
            if read_mode:
                raise
            _log_failure(error)
            self._fname, self._positions, self._used = filename, dict[str, int](), _EMPTY
            self._continue_in_memory(FIRST_BYTES, _USED.pack(_EMPTY))
        if not read_mode:
            _open.add(self)

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + _MOST_BESIDE_A_KEY > self._capacity:
            capacity = 2 * self._capacity
            try:
                os.posix_fallocate(self._f.fileno(), 0, capacity)
                self._m, self._capacity = mmap.mmap(self._f.fileno(), capacity), capacity
            except OSError as error:
                _log_failure(error)
                self._continue_in_memory(capacity, self._m[: self._used])
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Write the file again if it is gone. OSError if that cannot be."""
        if self._f is None or self._pid != os.getpid():
            return  # closed, or of the process that forked this one
        with contextlib.suppress(FileNotFoundError):
            found, mine = os.stat(self._path), os.fstat(self._f.fileno())
            if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
                return
        _reserve(self._path, self._capacity)
        self._continue(self._path, self._capacity, self._m[: self._used])

    def _continue_in_memory(self, capacity: int, content: bytes) -> None:
        # RLIMIT_FSIZE holds for files in memory, too. /dev/null stands in for one: it has a number, and can be closed.
        self._continue(os.devnull, capacity, content)

    def _continue(self, filename: str, capacity: int, content: bytes) -> None:
        before: BinaryIO | None = getattr(self, "_f", None)
        self._f, self._capacity = open(filename, "r+b"), capacity  # noqa: SIM115  # as long as this lives
        self._m = mmap.mmap(-1 if filename == os.devnull else self._f.fileno(), capacity)
        self._m[: len(content)] = content
        if before is not None:
            before.close()


def install() -> None:
    """Have prometheus-client keep figures so; before the first metric is made."""
    vars(values)["MmapedDict"] = MetricFile


def restore() -> bool:
    """Write this process's files again, if somebody has removed them; to be called about once a second.

    Returns:
        Whether they are there; False if these figures are in memory.
    """
    global _troubled_in
    try:
        for file in list(_open):
            file.restore()
    except OSError as error:
        _log_failure(error)
        return False
    if _troubled_in == os.getpid():
        _troubled_in = 0
        log.info("figures are written again")
    return True


def _log_failure(error: OSError) -> None:
    """Once, until they can be written again."""
    global _troubled_in
    if _troubled_in != os.getpid() and structlog.is_configured():  # else it is too early to tell
        _troubled_in = os.getpid()
        log.warning("figures cannot be written; this worker keeps its own in memory", error=error.strerror)


def _reserve(filename: str, capacity: int) -> None:
    """Make a file, and its folder, with room for so much."""
    if (folder := os.path.dirname(filename)) and not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700)
    with open(filename, "ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(capacity, os.fstat(file.fileno()).st_size))
        except OSError:
            os.unlink(filename)  # who reads all files would stumble over one without a beginning
            raise
