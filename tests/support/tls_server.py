"""A server that does only TLS handshakes, for tests of accepted certificates and of reading.

Knows certificates; does not know the protocol inside the connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class TlsServer:
    """Listens on a free port of 127.0.0.1, and sends each client `greeting` after the handshake.

    Args:
        cert, key: files of its certificate.
        greeting: pieces that are sent as one TLS record each (at most 16 KiB).
        clients: file of the authority whose clients are accepted; None accepts all.
        tickets: session tickets after each handshake.

    Attributes:
        names: the server names that clients sent (SNI), or None.
    """

    def __init__(
        self, cert: Path, key: Path, greeting: tuple[bytes, ...] = (), clients: Path | None = None, tickets: int = 0
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._context.num_tickets = tickets
        if clients is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(clients)
        self._context.sni_callback = self._on_name
        self._greeting = greeting
        self.names: list[str | None] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _on_name(self, _socket: Any, name: str | None, _context: Any) -> None:
        self.names.append(name)

    def _serve(self) -> None:
        with contextlib.ExitStack() as open_ones:
            while not self._over.is_set():
                try:
                    plain, _ = self._listener.accept()
                except OSError:
                    return
                plain.settimeout(10)
                try:
                    client = self._context.wrap_socket(plain, server_side=True)
                except OSError:
                    plain.close()  # one side refused the other's certificate
                    continue
                open_ones.enter_context(client)
                for piece in self._greeting:
                    client.sendall(piece)
