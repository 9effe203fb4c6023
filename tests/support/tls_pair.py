"""Two ends of a TLS connection in one process, for tests of sockets that one thread reads while another one writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from tests.support.certificate import Certificate

WAIT = 20.0
"""Time limit of a step, in seconds."""


class Watched:
    """OpenSSL's object, how many calls have ended, and whether two were ever made at the same time."""

    def __init__(self, sslobj: Any) -> None:
        self._sslobj, self._inside = sslobj, threading.Lock()
        self.ended, self.overlapped = 0, False

    def read(self, *args: Any) -> Any:
        return self._alone(self._sslobj.read, *args)

    def write(self, *args: Any) -> Any:
        return self._alone(self._sslobj.write, *args)

    def _alone(self, call: Any, *args: Any) -> Any:
        if not self._inside.acquire(blocking=False):
            self.overlapped = True
            return call(*args)
        try:
            return call(*args)
        finally:
            self.ended += 1
            self._inside.release()


@contextlib.contextmanager
def pair(certificate: Certificate, tls: ssl.SSLContext) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Yield a client's socket, made by `tls`, and the server's, after the handshake."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate.cert, certificate.key)
    accepted: list[ssl.SSLSocket] = []
    near, far = socket.socketpair()
    server = threading.Thread(target=lambda: accepted.append(ours.wrap_socket(far, server_side=True)))
    server.start()
    with tls.wrap_socket(near, server_hostname="localhost") as client:
        server.join(WAIT)
        with accepted[0] as served:
            client.settimeout(WAIT)
            served.settimeout(WAIT)
            yield client, served
