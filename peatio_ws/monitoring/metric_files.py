"""The files in which each worker stores its metrics, for all workers to read.

Metrics are expendable: if a file cannot be written, they stay in memory, and nothing else is affected. Knows
prometheus-client's files; knows no metric.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = structlog.get_logger("peatio_ws.monitoring.metric_files")

FIRST_BYTES: Final = 65_536
"""Size of a new file, as in prometheus-client."""
_LENGTH: Final = struct.Struct("i")
"""A file begins with its used size; the entries follow after `_EMPTY` bytes, each with the size of its key first."""
_EMPTY: Final = 8
_VALUE: Final = struct.Struct("dd")
"""An entry ends with the value of the metric, and a timestamp."""
_MOST_BESIDES_KEY: Final = 28
"""Bytes of an entry besides its key: its length, up to 8 bytes of padding, two numbers."""

_null: Final = os.open(os.devnull, os.O_RDWR)
_open: weakref.WeakSet[MetricFile] = weakref.WeakSet()
_failure_logged_by = 0  # the process that logged the failure; a failure of the master says nothing about its workers


class MetricFile(MmapedDict):
    """prometheus-client's dict in a mapped file, which survives the loss of the file.

    If the folder is gone, prometheus-client (0.26.0) raises OSError at the increment of a counter. On a full disk it
    maps space that does not exist, and writing to it ends the process (SIGBUS). This class allocates the space first.
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
            self._continue_in_memory(FIRST_BYTES, _LENGTH.pack(_EMPTY))
        if not read_mode:
            _open.add(self)

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + _MOST_BESIDES_KEY > self._capacity:
            capacity = 2 * self._capacity
            try:
                os.posix_fallocate(self._f.fileno(), 0, capacity)
                self._m, self._capacity = mmap.mmap(self._f.fileno(), capacity), capacity
            except OSError as error:
                _log_failure(error)
                self._continue_in_memory(capacity, self._m[: self._used])
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Write the file again if it is gone. Raises OSError if that fails."""
        if self._f is None or self._pid != os.getpid():
            return  # closed, or opened by the parent process
        with contextlib.suppress(FileNotFoundError):
            found, mine = os.stat(self._path), os.fstat(self._f.fileno())
            if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
                return
        _reserve(self._path, self._capacity)
        file = open(self._path, "r+b")  # noqa: SIM115  # open as long as this object
        try:
            memory = mmap.mmap(file.fileno(), self._capacity)
        except OSError:
            file.close()
            raise
        self._continue(file, memory, self._capacity, self._m[: self._used])

    def _continue_in_memory(self, capacity: int, content: bytes) -> None:
        # RLIMIT_FSIZE applies to files in memory, too. /dev/null takes their place: it has a number and can be closed.
        # It is open already: all file descriptors of the process may be in use.
        null = open(_null, "r+b", closefd=False)  # noqa: SIM115  # open as long as this object
        self._continue(null, mmap.mmap(-1, capacity), capacity, content)

    def _continue(self, file: BinaryIO, memory: mmap.mmap, capacity: int, content: bytes) -> None:
        before: BinaryIO | None = getattr(self, "_f", None)
        self._f, self._m, self._capacity = file, memory, capacity
        self._m[: len(content)] = content
        if before is not None:
            before.close()


def install() -> None:
    """Make prometheus-client use this class. Call it before the first metric is made."""
    vars(values)["MmapedDict"] = MetricFile


def restore() -> bool:
    """Write this process's files again if they were removed. Call it about once a second.

    Returns:
        Whether the files exist; False if the metrics are in memory.
    """
    global _failure_logged_by
    try:
        for file in list(_open):
            file.restore()
    except OSError as error:
        _log_failure(error)
        return False
    if _failure_logged_by == os.getpid():
        _failure_logged_by = 0
        log.info("metrics can be written again")
    return True


def write(path: Path, metrics: Mapping[str, float]) -> None:
    """Write a file with these metrics, by their keys in such files. Raises OSError."""
    content = bytearray(_EMPTY)
    for key, value in metrics.items():
        encoded = key.encode()
        padding = b" " * (8 - (len(encoded) + 4) % 8)
        content += _LENGTH.pack(len(encoded)) + encoded + padding + _VALUE.pack(value, 0.0)
    _LENGTH.pack_into(content, 0, len(content))
    path.write_bytes(content)


def _log_failure(error: OSError) -> None:
    """Log that metrics cannot be written, once until they can be written again."""
    global _failure_logged_by
    if _failure_logged_by != os.getpid() and structlog.is_configured():  # else the log is not configured yet
        _failure_logged_by = os.getpid()
        log.warning("metrics cannot be written; keeping them in memory", error=error.strerror)


def _reserve(filename: str, capacity: int) -> None:
    """Make a file, and its folder, with this capacity."""
    if (folder := os.path.dirname(filename)) and not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700)
    with open(filename, "ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(capacity, os.fstat(file.fileno()).st_size))
        except OSError:
            os.unlink(filename)  # a file without a header would break the reading of all files
            raise
