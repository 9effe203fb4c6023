"""The operator's port: `/metrics`, `/healthz`, `/readyz`. Its socket is bound once and shared by all workers, and
whichever takes a request speaks for itself; one whose loop does not turn takes none.

A client of it has limits of time, size and number, like those of the gateway's own port: `http_handler.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import gevent
import msgspec
from gevent.event import AsyncResult
from gevent.lock import Semaphore
from gevent.pywsgi import WSGIServer
from gevent.socket import socket as gevent_socket

from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import limits, metrics
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server import listen_addresses
from peatio_ws.server.gateway import Gateway
from peatio_ws.transport.http_handler import PendingRequest, TimedHandler

STUCK_SECONDS: Final = 5.0
"""A worker whose loop has not turned for so long is told of; it should once a second."""

MOST_CONNECTIONS: Final = 64
"""Connections of a worker. With more, one whose request has not come is closed; if there is none, the answer is 503."""
REQUEST_SECONDS: Final = 5.0
"""How long a request may take to arrive, and how long the rest of its body may take."""
IDLE_SECONDS: Final = 75.0
"""How long a connection is kept open after an answer: longer than most scrapers pause."""
SEND_SECONDS: Final = 10.0
"""How long a client may take for each 64 KiB of an answer."""
ROOM_SECONDS: Final = 1.0
"""How long a connection that is one too many waits for another one to end, before it is answered with 503."""
LOOK_SECONDS: Final = 0.005
MOST_BODY: Final = 65_536
"""Bytes of a request's body; with more the answer is 413."""
REST: Final = 2.0
"""Between two scrapes a worker rests for so many times as long as the first one took. Clients that come meanwhile share
the next one."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

faults: list[str] = []
"""What keeps this worker from starting."""
_server: WSGIServer | None = None
_listener: socket.socket | None = None  # bound by gunicorn's master, inherited by its workers


def bind(settings: Settings) -> None:
    """Listen on `METRICS_HOST:METRICS_PORT`, in gunicorn's master; ConfigurationError if that cannot be."""
    global _listener
    host, port = settings.metrics_host, settings.metrics_port
    try:
        _listener = listen_addresses.bind_socket(host, port)
    except OSError as error:
        raise ConfigurationError([listen_addresses.fault("METRICS", host, port, error)]) from None


def serve() -> None:
    """Answer on the master's socket from this worker; nothing if there is none (another server than gunicorn).
    Idempotent."""
    global _server
    if _listener is not None and _server is None:
        shared = gevent_socket(_listener.family, _listener.type, fileno=os.dup(_listener.fileno()))
        _server = Server(shared, application, log=None, error_log=None)
        _server.start()


class OperatorHandler(TimedHandler):
    """A request to the operator's port."""

    idle: ClassVar[dict[Any, PendingRequest]] = {}
    most_pending: ClassVar[int] = MOST_CONNECTIONS
    grace: ClassVar[float] = 0.0  # its clients are near, and the limit is low
    request_seconds: ClassVar[float] = REQUEST_SECONDS
    idle_seconds: ClassVar[float] = IDLE_SECONDS
    send_seconds: ClassVar[float] = SEND_SECONDS

    def run_application(self) -> None:
        if (self.content_length or 0) > MOST_BODY or self.wsgi_input.chunked_input:
            limits.reached(Limit.REQUEST_SIZE, address=self.peer, port="metrics")
            self.close_connection = True
            self.application = _too_large
        try:
            super().run_application()
        finally:
            self.discard_body()

    def log_request(self) -> None:
        """Not logged: there is a request every few seconds."""


class Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """The operator's port of one worker, with at most `MOST_CONNECTIONS` connections."""

    handler_class = OperatorHandler

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = 0

    def handle(self, sock: Any, address: Any) -> None:
        """One connection."""
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS or _find_room():
                super().handle(sock, address)
                return
            limits.reached(Limit.OPERATORS_CONNECTIONS, most=MOST_CONNECTIONS)
            with contextlib.suppress(OSError), gevent.Timeout(REQUEST_SECONDS, TimeoutError):
                sock.sendall(_FULL)
        finally:
            self._connections -= 1


def _find_room() -> bool:
    """Close a connection that has not sent its request; False if there is none for `ROOM_SECONDS`. What has come is
    read first: in a rush that takes some turns of the loop."""
    until = time.monotonic() + ROOM_SECONDS
    while not OperatorHandler.make_room():
        if time.monotonic() > until:
            return False
        gevent.sleep(LOOK_SECONDS)
    return True


class Scrapes:
    """Scrapes of many clients: one at a time, with pauses, and shared by all who asked before it began.

    Args:
        render: what a scrape takes time for.
    """

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render, self._one = render, Semaphore()
        self._next: AsyncResult[bytes] | None = None
        self._rested = 0.0  # monotonic time

    def text(self) -> bytes:
        """What `render` returns, or raises; called after this was."""
        if self._next is None:
            self._next = AsyncResult()
            gevent.spawn(self._run, self._next)
        text: bytes = self._next.get()
        return text

    def _run(self, shared: AsyncResult[bytes]) -> None:
        with self._one:
            gevent.sleep(max(0.0, self._rested - time.monotonic()))
            self._next, began = None, time.monotonic()
            try:
                shared.set(self._render())
            except BaseException as error:
                shared.set_exception(error)
            now = time.monotonic()
            self._rested = now + REST * (now - began)


_scrapes: Final = Scrapes(metrics.text)


def _too_large(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("413 Content Too Large", [("Content-Length", "0"), ("Connection", "close")])
    return []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: what a scraper, a load balancer or a person asks."""
    path = environ.get("PATH_INFO", "")
    status, kind = "200 OK", "application/json"
    if path == "/metrics":
        try:
            body, kind = _scrapes.text(), "text/plain; version=0.0.4; charset=utf-8"
        except TimeoutError as error:
            status, body = "503 Service Unavailable", msgspec.json.encode({"error": str(error)})
    elif path == "/healthz":
        # gunicorn deals with the others: no reason to end this worker, too.
        body = msgspec.json.encode({"ok": True, "problems": _stuck()})
    elif path == "/readyz":
        problems = faults + [problem for gateway in Gateway.instances() for problem in gateway.problems()]
        body = msgspec.json.encode({"ready": not problems, "problems": problems})
        status = "503 Service Unavailable" if problems else status
    else:
        status, body = "404 Not Found", b'{"error":"there are /metrics, /healthz and /readyz"}'
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _stuck() -> list[str]:
    """Workers whose loop does not turn, in words."""
    ages = {pid: time.time() - at for pid, at in metrics.turned_at().items()}
    return [
        f"worker {pid} does not turn, for {age:.0f} s now; gunicorn ends it after its timeout"
        for pid, age in sorted(ages.items())
        if age > STUCK_SECONDS
    ]
