"""Waits for the bytes of one client. Knows sockets, TLS or not, and nothing of frames.

A greenlet that waits is 7 KB: a page for its Python frames and a copy of its C stack. So the greenlet of a client that
sends nothing ends, and the event loop starts a new one as soon as there is something to read.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

import gevent

READ_BYTES: Final = 16_384
"""The most bytes that one call returns: a TLS record (RFC 8446 section 5.1)."""
DISCARD_BYTES: Final = 65_536
DISCARD_PAUSE: Final = 0.05
"""Seconds to pause after each group of bytes that are dropped."""
RELEASED_AT_ONCE: Final = 5
RELEASE_PAUSE: Final = 0.005
"""Seconds between groups of greenlets that end."""
NOTHING_YET: Final = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Raised by `Reader.receive_now` while there are no bytes, or while OpenSSL has to answer a key update first."""


class Idle(BaseException):
    """Raised in a greenlet that waits in `Reader.receive`, so that it ends. It has to call `Reader.wait_idle` then.

    Not an error, so no `except Exception` may catch it.
    """


class Reader:
    """The greenlet that reads from one client.

    Args:
        sock: an upgraded gevent socket; no other code may read from it.
    """

    __slots__ = ("_greenlet", "_run", "_sock", "_waits")

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._run: Callable[[], object] | None = None
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        self._waits = False

    def start(self, run: Callable[[], object], handles_idle: bool = False) -> None:
        """Call a function in a new greenlet; if it handles `Idle`, again whenever the client ends an idle time."""
        greenlet = gevent.spawn(run)
        if handles_idle:
            self._run, self._greenlet = run, greenlet

    def receive(self) -> bytes:
        """Call `receive` for the socket."""
        self._waits = True
        try:
            return receive(self._sock)
        finally:
            self._waits = False

    def receive_now(self) -> bytes:
        """Return what there is without waiting, while no greenlet is in `receive`. Raises `NOTHING_YET`, or OSError."""
        self._sock.settimeout(0.0)  # the one of `receive`; no other greenlet runs in between
        try:
            return bytes(self._sock.recv(READ_BYTES))
        finally:
            self._sock.settimeout(None)

    def discard(self) -> None:
        """Read and drop what the client sends until it ends."""
        with contextlib.suppress(OSError):
            while self._sock.recv(DISCARD_BYTES):
                gevent.sleep(DISCARD_PAUSE)

    def unread(self) -> int:
        """Return how many bytes the kernel holds."""
        return unread(self._sock)

    def release_greenlet(self) -> None:
        """Raise `Idle` in the greenlet soon if it was started by `start` and waits in `receive`. Never waits."""
        if self._waits and self._run is not None:
            _Releases.of_this_hub().add(self)

    def raise_idle(self) -> None:
        """Called by the event loop, so that the greenlet cannot go on between the check and the exception."""
        if self._waits and self._greenlet is not None:
            self._greenlet.throw(Idle)

    def wait_idle(self) -> None:
        """Wait for the client without a greenlet. The current one has to end, and does nothing after this call."""
        self._greenlet = None
        # Not the bound method: on shutdown() and close(), gevent (26.9.0) takes the object of such a callback for a
        # greenlet, and its failure to throw into it would be a traceback in the log.
        self._sock._read_event.start(functools.partial(self._on_readable))

    def _on_readable(self) -> None:
        self._sock._read_event.stop()
        if self._run is not None:
            self._greenlet = gevent.spawn(self._run)

    def end(self) -> None:
        """Do not raise `Idle` any more, even if a release is pending. Forget greenlet and function, which refer to the
        connection."""
        self._run = self._greenlet = None


class _Releases:
    """The readers of a hub whose greenlets will end, a few at a time: a thousand at once would hold up the event loop,
    and all events, for 20 ms."""

    def __init__(self) -> None:
        self._readers: dict[Reader, None] = {}
        self._runs = False

    @staticmethod
    def of_this_hub() -> _Releases:
        hub = gevent.get_hub()
        found: _Releases | None = getattr(hub, "idle_readers", None)
        if found is None:
            found = hub.idle_readers = _Releases()
        return found

    def add(self, reader: Reader) -> None:
        self._readers[reader] = None
        if not self._runs:
            self._runs = True
            gevent.spawn(self._run)

    def _run(self) -> None:
        try:
            while self._readers:
                for reader in list(itertools.islice(self._readers, RELEASED_AT_ONCE)):
                    del self._readers[reader]
                    gevent.get_hub().loop.run_callback(reader.raise_idle)
                gevent.sleep(RELEASE_PAUSE)
        finally:
            self._runs = False


def receive(sock: Any) -> bytes:
    """Wait for some bytes on a gevent socket. Return nothing at the end. Raises OSError, as the socket's `recv` does.

    gevent's TLS socket waits within an `except` (26.9.0), so each idle connection would keep an exception and its
    traceback: 1 KB.
    """
    if not hasattr(sock, "_sslobj"):
        return bytes(sock.recv(READ_BYTES))
    while True:
        watcher = sock._read_event
        try:
            return bytes(sock._sslobj.read(READ_BYTES))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:  # OpenSSL has to answer a key update first
            watcher = sock._write_event
        except ssl.SSLEOFError:  # the end without a close_notify
            return b""
        sock._wait(watcher)


def unread(sock: Any) -> int:
    """Return how many bytes of the client the kernel holds. Raises OSError or ValueError if the socket is closed."""
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
    return found[0]
