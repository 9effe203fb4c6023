"""A TLS socket for `websockets.sync`, which reads in one thread and writes in another.

OpenSSL supports one call at a time for a connection. With Python's own socket, the gateway sometimes never receives the
request, and `listen` waits forever if it receives session tickets but no answer.

The Python client has a larger one, with time limits and for long messages: neither package may depend on the other.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from typing import Any


class ThreadSafeSocket(ssl.SSLSocket):
    """Python's TLS socket, with one call to OpenSSL at a time. A thread that waits for data is not within such a call.
    One thread may read, and one may write short messages.
    """

    _calls: threading.Lock
    _reading: threading.Lock

    def __new__(cls, *args: Any, **options: Any) -> ThreadSafeSocket:
        made = super().__new__(cls, *args, **options)
        made._calls, made._reading = threading.Lock(), threading.Lock()
        return made

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        with self._reading:
            while True:
                with self._calls:
                    self.setblocking(False)
                    try:
                        return super().recv(buflen, flags)
                    except (ssl.SSLWantReadError, BlockingIOError):  # the latter after a shutdown, which ends TLS
                        pass
                    finally:
                        self.setblocking(True)
                select.select([self], [], [])

    def send(self, data: bytes, flags: int = 0) -> int:  # type: ignore[override]
        with self._calls:
            return super().send(data, flags)

    def shutdown(self, how: int) -> None:
        with self._calls:
            super().shutdown(how)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # not connected any more
            socket.socket.shutdown(self, socket.SHUT_RDWR)  # ends the wait of a reading thread; closing alone does not
        with self._reading:
            super().close()


def thread_safe_context() -> ssl.SSLContext:
    """Return the usual context for clients, which makes such sockets."""
    context = ssl.create_default_context()
    context.sslsocket_class = ThreadSafeSocket
    return context
