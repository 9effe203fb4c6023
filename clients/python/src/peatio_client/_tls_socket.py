"""A TLS socket that one thread may read while another one writes.

`websockets.sync` does so, and neither OpenSSL nor Python's `ssl` supports it: if the reader receives a session ticket
while the request is written, the server never receives the request (Python 3.11). And it closes sockets for which
another thread may wait: if a server sends session tickets and no answer, `connect` never returns.

The gateway's `listen` has a smaller one (`peatio_ws/cli/tls_socket.py`): neither package may depend on the other.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any


class ThreadSafeSocket(ssl.SSLSocket):
    """Python's TLS socket, with one call to OpenSSL at a time. No thread waits for the network within such a call."""

    _calls: threading.RLock
    _reading: threading.RLock  # held while a thread waits in a direction
    _writing: threading.RLock

    def __new__(cls, *args: Any, **options: Any) -> ThreadSafeSocket:
        made = super().__new__(cls, *args, **options)
        made._calls, made._reading, made._writing = threading.RLock(), threading.RLock(), threading.RLock()
        return made

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        with self._reading:
            while True:
                with self._waiting(selectors.EVENT_READ), self._without_waiting():
                    return super().recv(buflen, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        with self._writing:
            while True:
                with self._waiting(selectors.EVENT_WRITE), self._without_waiting():
                    return super().send(data, flags)

    def shutdown(self, how: int) -> None:
        with self._calls:
            super().shutdown(how)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # not connected any more
            socket.socket.shutdown(self, socket.SHUT_RDWR)  # ends the waits of other threads; closing alone does not
        with self._reading, self._writing:
            super().close()

    def gettimeout(self) -> float | None:
        with self._calls:  # within a call of another thread it would be 0
            return super().gettimeout()

    def settimeout(self, value: float | None) -> None:
        with self._calls:
            super().settimeout(value)

    @contextlib.contextmanager
    def _without_waiting(self) -> Iterator[None]:
        with self._calls:
            timeout = self.gettimeout()
            super().settimeout(0.0)
            try:
                yield
            finally:
                if self.fileno() != -1:
                    super().settimeout(timeout)

    @contextlib.contextmanager
    def _waiting(self, event: int) -> Iterator[None]:
        """If the call within needs the network first, wait for what OpenSSL needs, or for `event` if TLS has ended."""
        try:
            yield
        except BlockingIOError:  # not TLS any more, after a shutdown
            self._wait(event)
        except ssl.SSLWantReadError:
            self._wait(selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait(selectors.EVENT_WRITE)

    def _wait(self, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self, event)
            if not selector.select(self.gettimeout()):
                raise TimeoutError("timed out")


def thread_safe(context: ssl.SSLContext | None) -> ssl.SSLContext:
    """Make a context create thread-safe sockets. Return the context; without one, the usual one for clients.

    A context that makes sockets of another class (gevent's, for example) is left as it is.
    """
    context = context or ssl.create_default_context()
    if context.sslsocket_class is _PYTHONS:
        context.sslsocket_class = ThreadSafeSocket
    return context


_PYTHONS = ssl.SSLSocket if ssl.SSLSocket.__module__ == "ssl" else None
