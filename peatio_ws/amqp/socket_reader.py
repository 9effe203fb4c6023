"""Reads the broker's gevent socket with a permanent watcher.

gevent's `recv` starts and stops a watcher for each wait. Here the watcher stays started, and the event loop switches
directly to the reading greenlet. After a read that took all available bytes, the reader waits before it reads again.
Knows sockets and the event loop; does not know the data.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

import gevent

READABLE: Final = 1
"""libev's EV_READ."""
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError)


class SocketReader:
    """Reads a socket, for one greenlet at a time.

    Args:
        sock: a gevent socket, TLS or not.
        read_now: reads up to a number of bytes without waiting; raises one of `NOT_NOW` if there are none. A shorter
            result means that no more bytes are available.
    """

    def __init__(self, sock: Any, read_now: Callable[[int], bytes]) -> None:
        self._sock, self._read_now = sock, read_now
        self._hub = gevent.get_hub()
        self._watcher = self._hub.loop.io(sock.fileno(), READABLE)
        self._waiting: Any = None  # the greenlet that waits
        self._is_drained = False

    def recv(self, size: int) -> bytes:
        """Read available bytes, and wait if there are none. Return b"" at the end of the connection.

        After a read that took all available bytes, other greenlets run first, even if more bytes have arrived.

        Raises:
            OSError: the connection is broken.
            TimeoutError: nothing arrived within the socket's timeout.
        """
        timeout = self._sock.timeout
        if timeout is not None:
            with gevent.Timeout(timeout, TimeoutError("timed out")):
                return self._read(size)
        return self._read(size)

    def close(self) -> None:
        """Stop watching. Call it before the socket is closed. A waiting greenlet gets an OSError."""
        self._watcher.stop()
        self._watcher.close()
        if self._waiting is not None:
            self._hub.loop.run_callback(self._waiting.throw, ConnectionAbortedError("closed by another greenlet"))

    def _read(self, size: int) -> bytes:
        if self._is_drained:
            self._wait()
        while True:
            try:
                data = self._read_now(size)
            except NOT_NOW:
                self._wait()
            except ssl.SSLEOFError:  # closed without close_notify; same as the end of a plain connection
                return b""
            except ssl.SSLWantWriteError:  # TLS has to write first (RFC 8446 section 4.6.3)
                data = self._sock.recv(size)
                break
            else:
                break
        self._is_drained = len(data) < size
        return data

    def _wait(self) -> None:
        """Let other greenlets run until the socket is readable. May return early."""
        if not self._watcher.active:
            self._watcher.start(self._on_readable)
        self._waiting = gevent.getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None

    def _on_readable(self) -> None:
        if self._waiting is not None:
            self._waiting.switch()
        else:
            # The reader is busy. A started watcher would call this at every turn of the loop.
            self._watcher.stop()
