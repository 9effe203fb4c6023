"""The socket of the operator's port, which all workers share, and its limits.

Clients have limits of time, size and number, as on the gateway's own port (`request_handler.py`).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any, ClassVar, Final

import gevent
from gevent.socket import socket as gevent_socket

from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server import listen_addresses
from peatio_ws.server.gunicorn.accepting import AcceptingServer
from peatio_ws.server.operator_port import health
from peatio_ws.server.operator_port.application import OperatorApplication
from peatio_ws.server.operator_port.response import error
from peatio_ws.transport.http.request_handler import PendingRequest, TimedHandler

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
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

INHERITED: Final = "PEATIO_WS_METRICS_FD"
"""The variable with the number of an inherited socket: gunicorn's `GUNICORN_FD` for the operator's port."""

application: Final = OperatorApplication()
_server: Server | None = None
_listener: socket.socket | None = None  # bound by gunicorn's master, inherited by its workers
_is_last: Final = mmap.mmap(-1, 1)  # shared by the master and its workers; 1 if no other process answers


def bind(settings: Settings) -> None:
    """Listen on `METRICS_HOST:METRICS_PORT`, in gunicorn's master. Raise ConfigurationError if that fails."""
    global _listener
    if (fd := os.environ.pop(INHERITED, None)) is not None:
        _listener = socket.socket(fileno=int(fd))
        return
    host, port = settings.metrics_host, settings.metrics_port
    try:
        _listener = listen_addresses.bind_socket(host, port)
    except OSError as error:
        raise ConfigurationError([listen_addresses.fault(settings, error, "metrics_")]) from None


def hand_over(environ: MutableMapping[str, str]) -> None:
    """Let the program that this process executes next listen on the same socket. Call it in a child of the master.

    Args:
        environ: the program's environment.
    """
    if _listener is not None:
        _listener.set_inheritable(True)
        environ[INHERITED] = str(_listener.fileno())


def serve(settings: Settings | None = None, sockets: Sequence[Any] = ()) -> None:
    """Answer on the master's socket from this worker. Do nothing if there is no such socket, under a server other than
    gunicorn. Idempotent.

    Args:
        settings: where the HTTP interface is configured; None while they are faulty.
        sockets: where the worker accepts clients.
    """
    global _server
    health.addresses[:] = [health.address(one.getsockname()) for one in sockets]
    if settings is not None and settings.admin_token is not None:
        from peatio_ws.server.operator_port.api import Api  # loads redis-py, which takes 8 MB

        application.api = Api(settings, settings.admin_token.get_secret_value())
    if _listener is not None and _server is None:
        shared = gevent_socket(_listener.family, _listener.type, fileno=os.dup(_listener.fileno()))
        _server = Server(shared, application, log=None, error_log=None)
        _server.start()


def leave() -> None:
    """Let other processes answer on the port. A connection of this one stays until its current request is answered."""
    global _server, _listener
    server, _server, bound, _listener = _server, None, _listener, None
    if server is not None:
        server.close()
        OperatorHandler.end_idle(only_kept=True)
    if bound is not None:
        bound.close()


def announce(last: bool) -> None:
    """Record whether no other process answers on the port while a worker ends. Called by gunicorn's master."""
    _is_last[0] = last


def leave_to_others() -> None:
    """Leave the port when this worker ends and others answer there: its drain says nothing about them."""
    if not _is_last[0]:
        leave()


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
            self.close_connection |= self.server.closed  # this worker has left the port

    def log_request(self) -> None:
        """Do not log: there is a request every few seconds."""


class Server(AcceptingServer):
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


def _too_large(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    found = error("413 Content Too Large", f"the body is chunked, or has more than {MOST_BODY:,} bytes")
    more = [("Content-Length", str(len(found.body))), ("Cache-Control", "no-store"), ("Connection", "close")]
    start_response(found.status, [("Content-Type", found.kind), *more])
    return [found.body]
