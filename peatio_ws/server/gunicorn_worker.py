"""gunicorn's worker: gevent-websocket's, with strict handshakes, and an end that every client is told of."""

from __future__ import annotations

import gc
import ssl
import sys
import time
from typing import Any, ClassVar, Final

import gevent
import gevent.event
import structlog
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import VERSION

from peatio_ws.close_codes import Close
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.routing.replay import reconnect_reason
from peatio_ws.server import health
from peatio_ws.server.gateway import Gateway
from peatio_ws.transport.websocket import WebSocket
from peatio_ws.transport.websocket_handler import Handler

log = structlog.get_logger("peatio_ws.server.gunicorn_worker")

ARRIVE_SECONDS: Final = 0.5
NOTIFY_SECONDS: Final = 1.0
"""How often gunicorn's master is shown that the loop turns."""
LOOK_SECONDS: Final = 0.01
"""How often an ending worker looks whether its requests are done."""


class Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server; a TLS handshake that does not come to an end is given up."""

    running: ClassVar[list[Server]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._released: set[Any] = set()
        self.running.append(self)

    def release(self, sock: Any) -> None:
        """Leave a socket open, and to others, when its request is over."""
        self._released.add(sock)

    def do_close(self, sock: Any, *_: Any) -> None:
        if sock in self._released:
            self._released.discard(sock)
        else:
            sock.close()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        # Two steps: a timeout inside wrap_socket() would leave the socket open, owned by nobody (gevent 26.9.0).
        try:
            wrapped = self.wrap_socket(client_socket, do_handshake_on_connect=False, **self.ssl_args)
        except OSError:
            return
        try:
            if _shake_hands(wrapped):
                self.handle(wrapped, address)
        finally:
            self.do_close(wrapped)


def _shake_hands(wrapped: Any) -> bool:
    Handler.await_request(wrapped)
    try:
        with gevent.Timeout(Handler.settings.handshake_timeout, TimeoutError):
            wrapped.do_handshake()
    except TimeoutError:
        limits.reached(Limit.TLS_TIME)
        return False
    except OSError:  # an SSLError too
        return False
    finally:
        Handler.idle.pop(wrapped, None)
    return True


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # gunicorn has no types
    """`worker_class` of gunicorn.conf.py.

    gunicorn's gevent worker (27.0.1) looks once a second whether it should end, and once a second whether its requests
    are done. This one waits for events instead, so that an idle worker ends at once.
    """

    server_class = Server
    wsgi_handler = Handler
    patient: ClassVar[bool] = False
    """Whether a worker waits for settings that are wrong. Set by a master that has found them good."""
    _ssl_args: dict[str, Any]
    _alive = True
    _ending: gevent.event.Event | None = None  # None while the worker starts

    @property
    def alive(self) -> bool:
        """Whether the worker should go on. Signal handlers and gunicorn's reloader set it to False."""
        return self._alive

    @alive.setter
    def alive(self, alive: bool) -> None:
        self._alive = alive
        if not alive and self._ending is not None:
            self._ending.set()

    def load_wsgi(self) -> None:
        """Load the application.

        A worker that cannot would have gunicorn end the whole server (27.0.1). Where the settings have been good
        before, what is wrong is a file (a certificate) that is being written, so a patient worker tries again.
        """
        self._ending = gevent.event.Event()
        while True:
            try:
                super().load_wsgi()
                Handler.settings = Settings.limits_from_env()  # the application need not be a Gateway
                self._ssl_args = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
                break
            except (ConfigurationError, ssl.SSLError) as error:
                if not self.patient:
                    raise
                self._wait_for_settings(error)
        health.faults.clear()

    def _wait_for_settings(self, error: Exception) -> None:
        """Tell what is wrong, by the log and `/readyz`, and let a moment pass."""
        faults = (
            [*map(str, error.faults)] if isinstance(error, ConfigurationError) else [f"{type(error).__name__}: {error}"]
        )
        if faults != health.faults:
            health.faults[:] = faults
            for fault in faults:
                log.error("worker cannot start yet; trying again", fault=fault)
        health.serve()
        self.notify()
        assert self._ending is not None
        if self._ending.wait(NOTIFY_SECONDS):
            sys.exit(0)  # told to end

    def run(self) -> None:
        """Serve until `alive` is False, then tell every client."""
        # A connection is a few dozen objects that live as long as it does: looking through all of them, again and again
        # while thousands come, finds nothing.
        gc.set_threshold(20_000, 20, 50)
        gc.collect()
        gc.freeze()  # what is there now stays: it need not be looked through for each generation of connections
        if self._ending is None:
            self._ending = gevent.event.Event()
        for server in self._servers():
            server.start()
        gevent.spawn(supervise, "keeper of applications", _run_keeper)
        try:
            while self.alive:
                self.notify()
                self._ending.wait(NOTIFY_SECONDS)
            end = gevent.spawn(self._end)
            while not end.ready():
                self.notify()
                end.join(NOTIFY_SECONDS)
        finally:
            for gateway in Gateway.instances():
                gateway.stop()

    def _servers(self) -> list[Server]:
        """One server for each socket that gunicorn's master listens on."""
        environ = base_environ(self.cfg) | {"wsgi.multithread": True, "SERVER_SOFTWARE": VERSION}
        servers = []
        for sock in self.sockets:
            sock.setblocking(1)
            servers.append(
                self.server_class(
                    sock,
                    application=self.wsgi,
                    spawn=Pool(self.worker_connections),
                    log=self.log,
                    handler_class=self.wsgi_handler,
                    environ=environ,
                    **self._ssl_args,
                )
            )
        return servers

    def _end(self) -> None:
        """Stop accepting, tell every client, and wait for the requests that are being answered."""
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for server in Server.running:
            server.close()
        _drain()
        while any(server.pool for server in Server.running) and time.monotonic() < deadline:
            gevent.sleep(LOOK_SECONDS)
        for server in Server.running:
            if server.pool:
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                server.stop(timeout=1)

    def notify(self) -> None:
        """Show gunicorn's master that the loop turns. Without a master a worker ends, as on TERM: gunicorn's own would
        end the process on the spot (27.0.1)."""
        try:
            super().notify()
        except SystemExit:
            self.alive = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End as on TERM. gunicorn's own handler would end the process on the spot, and leave its clients untold."""
        self.handle_exit(sig, frame)


def _drain() -> None:
    _wait_for_requests()
    Handler.end_idle()
    for websocket in _served():
        websocket.outbox.close(Close.RESTART, reconnect_reason())
    for _ in range(2):  # the second time for the clients that were being upgraded during the first
        gevent.joinall([gevent.spawn(gateway.drain) for gateway in Gateway.instances()])
        _wait_for_requests()
    Handler.end_idle()


def _run_keeper() -> None:
    """Once a second the deadlines, and pings, of WebSockets that applications serve by themselves."""
    while True:
        gevent.sleep(1)
        for websocket in _served():
            _tick(websocket)


def _tick(websocket: WebSocket) -> None:
    try:
        websocket.tick(time.monotonic())
    except Exception:  # a fault of ours costs this one, and not the others their deadlines
        log.exception("connection failed", connection=websocket.id)
        websocket.outbox.abort()


def _served() -> list[WebSocket]:
    return [websocket for websocket in Handler.serving if websocket.accepted]


def _wait_for_requests() -> None:
    """Wait for the requests that are on their way, for `ARRIVE_SECONDS` at most: the client that was accepted last
    receives a close frame, too, instead of being cut off before it could ask."""
    until = time.monotonic() + ARRIVE_SECONDS
    while _requests() > 0 and time.monotonic() < until:
        gevent.sleep(LOOK_SECONDS)


def _requests() -> int:
    """The number of connections whose request is on its way or not decided yet: not those kept open after an answer,
    nor those that have become WebSockets."""
    return (
        sum(len(server.pool) for server in Server.running)
        - sum(waiting.again for waiting in Handler.idle.values())
        - len(_served())
    )
