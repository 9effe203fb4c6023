"""A small HTTP server on loopback that keeps what is posted to it, for exporters and reporters."""

from __future__ import annotations

import gzip
import http.server
import threading
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.gateway import WAIT


class Posted(NamedTuple):
    """A request.

    Attributes:
        body: decompressed.
    """

    path: str
    body: bytes


class HttpSink:
    """Receives requests until the `with` block ends.

    Args:
        answers: False for a server that hangs: it reads requests, and answers them only at the end.

    Attributes:
        port: on 127.0.0.1.
        posted: all requests so far.
        arrived: set when there is a request.
    """

    def __init__(self, answers: bool = True) -> None:
        self.posted: list[Posted] = []
        self.arrived, self._go = threading.Event(), threading.Event()
        if answers:
            self._go.set()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT)


def _handler(sink: HttpSink) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sink.posted.append(Posted(self.path, body))
            sink.arrived.set()
            sink._go.wait(WAIT)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
