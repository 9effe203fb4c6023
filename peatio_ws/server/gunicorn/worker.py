"""gunicorn's worker: gevent-websocket's, with strict handshakes and a close frame for every client at shutdown."""

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
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.ggevent import VERSION

from peatio_ws.close_codes import Close
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from peatio_ws.routing.replay import reconnect_reason
from peatio_ws.server.gateway import Gateway
from peatio_ws.server.gunicorn import span_export
from peatio_ws.server.gunicorn.server import Server, server_tls
from peatio_ws.server.operator_port import health, listener
from peatio_ws.transport.tls import ServerTls
from peatio_ws.transport.websocket import WebSocket
from peatio_ws.transport.websocket_handler import Handler

log = structlog.get_logger("peatio_ws.server.gunicorn.worker")

ARRIVE_SECONDS: Final = 0.5
NOTIFY_SECONDS: Final = 1.0
"""How often the worker shows gunicorn's master that its event loop turns."""
LOOK_SECONDS: Final = 0.01
"""How often an ending worker checks whether its requests are done."""


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # gunicorn has no types
    """`worker_class` of gunicorn.conf.py.

    gunicorn's gevent worker (27.0.1) checks once a second whether it should end and whether its requests are done.
    This one waits for events instead, so an idle worker ends at once.
    """

    server_class = Server
    wsgi_handler = Handler
    patient: ClassVar[bool] = False
    """Whether a worker waits while its settings are invalid. Set by a master that has validated them before."""
    _alive = True
    _ending: gevent.event.Event | None = None  # None while the worker starts

    @property
    def alive(self) -> bool:
        """Whether the worker should continue. Signal handlers and gunicorn's reloader set it to False."""
        return self._alive

    @alive.setter
    def alive(self, alive: bool) -> None:
        self._alive = alive
        if not alive and self._ending is not None:
            self._ending.set()

    def load_wsgi(self) -> None:
        """Load the application.

        If a worker cannot load it, gunicorn ends the whole server (27.0.1). If the settings were valid before, probably
        a file (a certificate) is being written, so a patient worker retries.
        """
        self._ending = gevent.event.Event()
        span_export.configure()
        while True:
            try:
                super().load_wsgi()
                Handler.settings = Settings.limits_from_env()  # the application need not be a Gateway
                if Server.tls is None:
                    Server.tls = self._made_tls()
                else:
                    Server.tls.renew()  # the files may have changed since the master read them
                break
            except (ConfigurationError, ssl.SSLError) as error:
                if not self.patient:
                    raise
                self._wait_for_settings(error)
        health.faults.clear()
        if Server.tls is not None:
            gevent.spawn(supervise, "certificate", Server.tls.run)

    def _made_tls(self) -> ServerTls | None:
        """Return the TLS of gunicorn's settings; None without TLS. Raises SSLError or ConfigurationError."""
        try:
            return server_tls(self.cfg)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise ConfigurationError([f"{self.cfg.certfile}, or its key, cannot be read: {error.strerror}"]) from None

    def _wait_for_settings(self, error: Exception) -> None:
        """Report the faults in the log and at `/readyz`, and pause."""
        faults = (
            [*map(str, error.faults)] if isinstance(error, ConfigurationError) else [f"{type(error).__name__}: {error}"]
        )
        if faults != health.faults:
            health.faults[:] = faults
            for fault in faults:
                log.error("worker cannot start yet; retrying", fault=fault)
        listener.serve(sockets=self.sockets)
        self.notify()
        assert self._ending is not None
        if self._ending.wait(NOTIFY_SECONDS):
            sys.exit(0)  # asked to end

    def run(self) -> None:
        """Serve until `alive` is False, then send every client a close frame."""
        # A connection consists of a few dozen objects with the same lifetime. To scan all of them repeatedly while
        # thousands of clients connect would find nothing.
        gc.set_threshold(20_000, 20, 50)
        gc.collect()  # looks at what this worker made only: gunicorn.conf.py has frozen what the master imported
        gc.freeze()  # permanent objects need not be scanned for each generation of connections
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
            span_export.end()

    def _servers(self) -> list[Server]:
        """Return one server for each socket that gunicorn's master listens on."""
        environ = base_environ(self.cfg) | {"wsgi.multithread": True, "SERVER_SOFTWARE": VERSION}
        tls = {"ssl_context": Server.tls.context} if Server.tls is not None else {}
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
                    **tls,
                )
            )
        return servers

    def _end(self) -> None:
        """Stop accepting, send every client a close frame, and wait for the requests that are being answered."""
        deadline = time.monotonic() + self.cfg.graceful_timeout
        for server in Server.running:
            server.close()
        listener.leave_to_others()
        _drain()
        while any(server.pool for server in Server.running) and time.monotonic() < deadline:
            gevent.sleep(LOOK_SECONDS)
        for server in Server.running:
            if server.pool:
                self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
                server.stop(timeout=1)

    def notify(self) -> None:
        """Show gunicorn's master that the event loop turns. Without a master, end as on TERM; gunicorn's own method
        would end the process at once (27.0.1). The operator's port is left at once for the gateway that is started
        instead, which would exit if it could not listen there; a worker with a master shares it with others."""
        try:
            super().notify()
        except SystemExit:
            self.alive = False
            listener.leave()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End as on TERM. gunicorn's own handler would end the process at once, without close frames."""
        self.handle_exit(sig, frame)


def _drain() -> None:
    _wait_for_requests()
    Handler.end_idle()
    for websocket in _served():
        websocket.outbox.close(Close.RESTART, reconnect_reason())
    for _ in range(2):  # the second pass reaches clients whose upgrade was under way during the first
        gevent.joinall([gevent.spawn(gateway.drain) for gateway in Gateway.instances()])
        _wait_for_requests()
    Handler.end_idle()


def _run_keeper() -> None:
    """Once a second, check the deadlines and send the pings of WebSockets that applications serve themselves."""
    while True:
        gevent.sleep(1)
        for websocket in _served():
            _tick(websocket)


def _tick(websocket: WebSocket) -> None:
    try:
        websocket.tick(time.monotonic())
    except Exception:  # a bug ends this connection only; the others keep their deadlines
        log.exception("connection failed", connection=websocket.id)
        websocket.outbox.abort()


def _served() -> list[WebSocket]:
    return [websocket for websocket in Handler.serving if websocket.accepted]


def _wait_for_requests() -> None:
    """Wait for requests in progress, for `ARRIVE_SECONDS` at most: the client that was accepted last receives a close
    frame, too, instead of being cut off before its request."""
    until = time.monotonic() + ARRIVE_SECONDS
    while _requests() > 0 and time.monotonic() < until:
        gevent.sleep(LOOK_SECONDS)


def _requests() -> int:
    """Return the number of connections whose request is arriving or not yet answered. Connections kept open after an
    answer, and WebSockets, do not count."""
    return (
        sum(len(server.pool) for server in Server.running)
        - sum(waiting.again for waiting in Handler.idle.values())
        - len(_served())
    )
