"""The client's side of TLS on a blocking socket, whose directions end one after the other.

Python's SSLSocket either forgets its keys when its sending half is closed, or waits for the server's end first. One
thread may send while another one receives.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading


class TlsSocket:
    """Does what `RawClient` needs of a socket. Shakes hands at once.

    Args:
        sock: a connected socket, with a timeout.
    """

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext, name: str = "localhost") -> None:
        self._sock, self._lock = sock, threading.Lock()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._in, self._out, server_hostname=name)
        self.settimeout, self.setsockopt, self.close = sock.settimeout, sock.setsockopt, sock.close
        while True:
            try:
                self._tls.do_handshake()
                self._send()
                return
            except ssl.SSLWantReadError:
                self._send()
                if not self._receive():
                    raise ConnectionResetError("the server hung up during the handshake") from None

    def sendall(self, data: bytes) -> None:
        with self._lock:
            self._tls.write(data)
        self._send()

    def recv(self, size: int) -> bytes:
        """Return b"" at the end, with a close_notify of the server or without one."""
        while True:
            try:
                with self._lock:
                    return self._tls.read(size)
            except ssl.SSLWantReadError:
                if not self._receive():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def shutdown(self, how: int) -> None:
        """Send close_notify, then the end of the sending half."""
        with self._lock, contextlib.suppress(ssl.SSLError):  # the server's close_notify is not there yet
            self._tls.unwrap()
        self._send()
        self._sock.shutdown(how)

    def _send(self) -> None:
        if data := self._out.read():
            self._sock.sendall(data)

    def _receive(self) -> bool:
        data = self._sock.recv(65_536)
        with self._lock:
            self._in.write(data)
        return bool(data)
