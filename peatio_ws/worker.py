"""gunicorn's worker: gevent-websocket's, with strict handshakes, and an end that every client is told of."""

from __future__ import annotations

import gc
import time
from typing import Any, ClassVar, Final

import gevent
import gevent.event
import structlog
from gevent.pywsgi import WSGIServer
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

from peatio_ws.errors import Close
from peatio_ws.gateway import Gateway
from peatio_ws.handler import Handler
from peatio_ws.replay import come_again
from peatio_ws.settings import Settings
from peatio_ws.supervise import supervise
from peatio_ws.websocket import WebSocket

log = structlog.get_logger("peatio_ws.worker")

ARRIVE_SECONDS: Final = 0.5


class Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server; a TLS handshake that does not come to an end is given up."""

    running: ClassVar[list[Server]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._let_go: set[Any] = set()
        self.running.append(self)

    def let_go(self, sock: Any) -> None:
        """Leave a socket open, and to others, when its request is over."""
        self._let_go.add(sock)

    def do_close(self, sock: Any, *_: Any) -> None:
        if sock in self._let_go:
            self._let_go.discard(sock)
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
    Handler.idle.add(wrapped)
    try:
        with gevent.Timeout(Handler.settings.handshake_timeout, TimeoutError):
            wrapped.do_handshake()
    except OSError:  # an SSLError too
        return False
    finally:
        Handler.idle.discard(wrapped)
    return True


class Worker(GeventWebSocketWorker):  # type: ignore[misc]  # gunicorn has no types
    """`worker_class` of gunicorn.conf.py."""

    server_class = Server
    wsgi_handler = Handler
    _stopping: gevent.event.Event | None = None  # while it starts

    def load_wsgi(self) -> None:
        super().load_wsgi()
        Handler.settings = Settings.limits_from_env()  # the application need not be a Gateway

    def run(self) -> None:
        # A connection is a few dozen objects that live as long as it does: looking through all of them, again and again
        # while thousands come, finds nothing.
        gc.set_threshold(20_000, 20, 50)
        gc.collect()
        gc.freeze()  # what is there now stays: it need not be looked through for each generation of connections
        self._stopping = stopping = gevent.event.Event()
        if not self.alive:
            stopping.set()  # told to end before it had begun
        drain = gevent.spawn(self._drain, stopping)
        gevent.spawn(supervise, "keeper of applications", _keep)
        try:
            super().run()
            drain.join(self.cfg.graceful_timeout)
        finally:
            for gateway in Gateway.instances():
                gateway.stop()

    def _drain(self, stopping: gevent.event.Event) -> None:
        stopping.wait()
        for server in Server.running:
            if server.started:  # else gunicorn is about to start it, and closes it then
                server.close()  # at once: gunicorn's own loop looks once a second
        _let_requests_arrive()
        Handler.end_idle()
        for websocket in _served():
            websocket.outbox.close(Close.RESTART, come_again())
        for _ in range(2):  # the second time for those who were being upgraded during the first
            gevent.joinall([gevent.spawn(gateway.drain) for gateway in Gateway.instances()])
            _let_requests_arrive()
        Handler.end_idle()

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        # An exception while it starts would be a worker that cannot: gunicorn ends everything then (27.0.1).
        if self._stopping is not None:
            self._stopping.set()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """INT and QUIT are no reason to leave clients untold; gunicorn's own would end the process on the spot."""
        self.handle_exit(sig, frame)


def _keep() -> None:
    """Once a second the deadlines, and pings, of WebSockets that applications serve by themselves."""
    while True:
        gevent.sleep(1)
        for websocket in _served():
            _look_after(websocket)


def _look_after(websocket: WebSocket) -> None:
    try:
        websocket.tick(time.monotonic())
    except Exception:  # a fault of ours costs this one, and not the others their deadlines
        log.exception("connection failed", connection=websocket.id)
        websocket.outbox.abort()


def _served() -> list[WebSocket]:
    return [websocket for websocket in Handler.serving if websocket.accepted]


def _let_requests_arrive() -> None:
    """Wait for the requests that are on their way, for `ARRIVE_SECONDS` at most: who was accepted as the last is told
    to come back, too, instead of being cut off before it could ask."""
    until = time.monotonic() + ARRIVE_SECONDS
    while any(server.pool for server in Server.running) and time.monotonic() < until:
        gevent.sleep(0.02)
