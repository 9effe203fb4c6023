"""Waits for the bytes of one client. Knows sockets, TLS or not, and nothing of frames."""

from __future__ import annotations

import ssl
from typing import Any, Final

READ_BYTES: Final = 16_384
"""The most bytes that one call returns: a TLS record (RFC 8446 section 5.1)."""


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
