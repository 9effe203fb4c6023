"""The operator's port: `/metrics`, `/healthz`, `/readyz`.

All workers share its socket. The worker that accepts a request reports its own health. A worker whose event loop is
stuck accepts none.

Clients have limits of time, size and number, as on the gateway's own port (`http_handler.py`).
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
"""A worker is reported if its event loop has not turned for this time. It should once a second."""

MOST_CONNECTIONS: Final = 64
"""Connections of a worker. If there are more, one without a request is closed; if there is none, the answer is 503."""
REQUEST_SECONDS: Final = 5.0
"""The time limit for a request to arrive, and for the rest of its body."""
IDLE_SECONDS: Final = 75.0
"""How long a connection stays open after an answer: longer than the interval of most scrapers."""
SEND_SECONDS: Final = 10.0
"""The time limit for each 64 KiB of an answer."""
ROOM_SECONDS: Final = 1.0
"""How long a connection over the limit waits for another one to end, before it is answered with 503."""
LOOK_SECONDS: Final = 0.005
MOST_BODY: Final = 65_536
"""The limit of a request's body in bytes; a larger one is answered with 413."""
REST: Final = 2.0
"""A worker pauses between two scrapes for this many times the duration of the first one. Clients that come meanwhile
share the next one."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

faults: list[str] = []
"""Why this worker cannot start."""
_server: WSGIServer | None = None
_listener: socket.socket | None = None  # bound by gunicorn's master, inherited by its workers


def bind(settings: Settings) -> None:
    """Listen on `METRICS_HOST:METRICS_PORT`, in gunicorn's master. Raise ConfigurationError if that fails."""
    global _listener
    host, port = settings.metrics_host, settings.metrics_port
    try:
        _listener = listen_addresses.bind_socket(host, port)
    except OSError as error:
        raise ConfigurationError([listen_addresses.fault("METRICS", host, port, error)]) from None


def serve() -> None:
    """Answer on the master's socket from this worker. Do nothing if there is no such socket, under a server other than
    gunicorn. Idempotent."""
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
        """Do not log: there is a request every few seconds."""


class Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """The operator's port of one worker, with at most `MOST_CONNECTIONS` connections."""

    handler_class = OperatorHandler

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = 0

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection."""
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
    """Close a connection that has not sent its request. Return False if there is none for `ROOM_SECONDS`. Received data
    is read first, which may take some turns of the event loop."""
    until = time.monotonic() + ROOM_SECONDS
    while not OperatorHandler.make_room():
        if time.monotonic() > until:
            return False
        gevent.sleep(LOOK_SECONDS)
    return True


class Scrapes:
    """Scrapes of many clients: one at a time, with pauses. Clients that ask before a scrape begins share it.

    Args:
        render: returns the metrics, which takes time.
    """

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render, self._one = render, Semaphore()
        self._next: AsyncResult[bytes] | None = None
        self._rested = 0.0  # monotonic time

    def text(self) -> bytes:
        """Return what `render` returns, or raise what it raises. It starts after this call."""
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
    """Answer scrapers, load balancers and people (WSGI)."""
    path = environ.get("PATH_INFO", "")
    status, kind = "200 OK", "application/json"
    if path == "/metrics":
        try:
            body, kind = _scrapes.text(), "text/plain; version=0.0.4; charset=utf-8"
        except TimeoutError as error:
            status, body = "503 Service Unavailable", msgspec.json.encode({"error": str(error)})
    elif path == "/healthz":
        # Problems of other workers are gunicorn's to solve, and no reason to end this worker, too.
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
    """Return a line for each worker whose event loop is stuck."""
    ages = {pid: time.time() - at for pid, at in metrics.turned_at().items()}
    return [
        f"worker {pid} does not turn, for {age:.0f} s now; gunicorn ends it after its timeout"
        for pid, age in sorted(ages.items())
        if age > STUCK_SECONDS
    ]
