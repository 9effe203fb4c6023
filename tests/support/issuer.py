"""An HTTP server that publishes a key set as an issuer does, and can misbehave."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOWEST = 300.0
"""Seconds after which a held request is given up."""


class Issuer:
    """Answers every request with `body`.

    Args:
        tls: serves HTTPS with this context; None for HTTP.

    Attributes:
        body, status, headers: of the next answers.
        held: whether it leaves requests unanswered.
        requests: number of requests so far.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.body, self.status, self.headers = b"", 200, dict[str, str]()
        self.held, self.requests = False, 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                deadline = time.monotonic() + SLOWEST
                while issuer.held and time.monotonic() < deadline:
                    time.sleep(0.02)
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(issuer.body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """The client did not wait for the answer."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/jwks.json"

    def close(self) -> None:
        self.held = False
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def issuing(body: bytes = b"", tls: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    issuer = Issuer(tls)
    issuer.body = body
    try:
        yield issuer
    finally:
        issuer.close()
