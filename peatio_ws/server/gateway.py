"""The WSGI callable: upgrades for us are served, everything else goes to the wrapped application.

Also a worker's life: start, drain, stop. One `Gateway` a worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import gevent

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.auth.verifier import Verifier
from peatio_ws.close_codes import Close
from peatio_ws.cluster.commands import WorkerId
from peatio_ws.cluster.redis_state import open_shared_state
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.console.page import Page, WSGIApp
from peatio_ws.errors import Refused, TryLater
from peatio_ws.monitoring.watchdog import Watchdog
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.publisher import Publisher
from peatio_ws.server.commands import CommandExecutor
from peatio_ws.server.connections.handler_connection import HandlerConnection, identify_request
from peatio_ws.server.connections.peatio_connection import PeatioConnection
from peatio_ws.server.connections.upgrade_request import check_origin, parse_upgrade_request, token_of, unauthorized
from peatio_ws.server.context import WorkerContext, lockout_seconds, verify_token
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.server.registry import ConnectionRegistry
from peatio_ws.server.routes import F, Handlers, Identify
from peatio_ws.server.stats import StatsReporter
from peatio_ws.simulator.demo import Demo
from peatio_ws.simulator.publications import MARKET
from peatio_ws.transport.client_address import client_address
from peatio_ws.transport.handshake import respond, switched, wants_upgrade
from peatio_ws.transport.outbox import CLOSE_SECONDS
from peatio_ws.transport.websocket import WebSocket
from peatio_ws.transport.websocket_handler import log_refusal, websocket_of

ROOM_SECONDS: Final = 0.05
"""How often room is looked for while a book waits for it."""


class Gateway:
    """A WSGI application that speaks Peatio's WebSocket protocols.

    Args:
        settings: see `Settings.from_env`.
        app: gets every request that is no upgrade; without one such a request is answered with 426, or with the
            console (`page.py`).

    Attributes:
        keys: what tokens are verified with.
    """

    _all: ClassVar[weakref.WeakSet[Gateway]] = weakref.WeakSet()

    def __init__(self, settings: Settings, app: WSGIApp | None = None) -> None:
        self._demo = Demo(settings) if settings.simulation else None
        if self._demo is not None:
            settings = self._demo.settings
        self._settings = settings
        self._app = _with_console(settings, app, self._demo)
        revocations = Revocations(settings.jwt_issued_at_leeway)
        self._shared = open_shared_state(settings.redis_url, revocations, Lockout(settings.max_failures_per_address))
        self._ingest = BrokerIngest(settings, self._shared)
        verifier = Verifier(settings.token_rules)
        self.keys = JwksRefresh(settings.token_rules, verifier)
        self._handlers = Handlers()
        rules = SubscriptionRules(settings.roles, settings.max_streams, self._ingest.names)
        self._context = WorkerContext(settings, verifier, self.keys, self._shared, self._ingest, self._handlers, rules)
        self._stats = StatsReporter(self._context)
        self._registry = ConnectionRegistry(settings, self._stats, self._shared.slot_counts)
        self._publisher: Publisher | None = None
        self._started = False
        self._watchdog: Watchdog | None = None
        self._background: list[gevent.Greenlet[Any, Any]] = []
        Gateway._all.add(self)

    @classmethod
    def from_env(cls, app: WSGIApp | None = None) -> Gateway:
        """A gateway set up by the environment; ConfigurationError with all its faults."""
        return cls(Settings.from_env(), app)

    @classmethod
    def instances(cls) -> list[Gateway]:
        """The gateways of this process, however deep in middleware."""
        return list(cls._all)

    # ---- handlers

    def websocket(self, path: str, identify: Identify | None = None) -> Callable[[F], F]:
        """A decorator: the function gets a `HandlerConnection` for each WebSocket of this path, and may block.

        When it returns, the connection is closed with 1000; `Disconnect` closes with its own code, anything else it
        raises with 1011 and a traceback in the log.

        Args:
            path: matched exactly, with or without a last slash, below whatever prefix the gateway is mounted at.
            identify: asked who it is where the request has no token, for applications that know it by a cookie: called
                with the WSGI environ before the upgrade, in the request's greenlet; returns a uid, or None for nobody.
                `Refused` is answered; anything else it raises is a 500 with a traceback in the log. Other sites' pages
                come with the cookie, too: here `*` in `API_CORS_ORIGINS` stands for the host itself only.

        Raises:
            ValueError: no path, or one that has a handler.
        """
        return lambda handler: self._handlers.add_path(path, handler, identify)

    def on(self, event: str) -> Callable[[F], F]:
        """A decorator: the function gets an `EventSession` and the message for each `{"event":"<event>",…}` of a
        client, of either protocol, and may block. Messages of one client are handled in order.

        What it sends it sends by `session.reply`. `ClientError` is answered as an error, `Disconnect` closes, anything
        else it raises is answered with a generic error and is in the log with a traceback; the connection stays.

        Raises:
            ValueError: a name that is built in, or has a handler.
        """
        return lambda handler: self._handlers.add_event(event, handler)

    @property
    def publisher(self) -> Publisher:
        """Pushes to members and streams by the gateway's own broker, the in-process one too, from any greenlet."""
        if self._publisher is None:
            self._publisher = Publisher(";".join(self._settings.amqp_urls), self._settings.amqp_durable)
        return self._publisher

    # ---- a worker's life

    def start(self) -> None:
        """Begin to hear the broker. Called by the worker, or by the first request; harmless a second time, and begins
        anew after `stop`."""
        if self._started:
            return
        self._started = True
        executor = CommandExecutor(_worker_id(self._settings), self._registry, self._shared.revocations)
        self._shared.start(self._ingest.router.channels, executor)
        self._ingest.start()
        if self._settings.max_blocking:
            self._watchdog = Watchdog(self._settings.max_blocking)
            self._watchdog.start()
        self._background = [
            gevent.spawn(supervise, "keeper", self._run_keeper),
            gevent.spawn(supervise, "keys", self.keys.run),
            gevent.spawn(supervise, "probe", self._stats.probe),
            gevent.spawn(supervise, "books", self._serve_books),
        ]
        if self._demo is not None:
            for event, handler in self._demo.events.items():
                self._handlers.events.setdefault(event, handler)  # an application's own come first
            self._background.append(gevent.spawn(supervise, "simulation", self._demo.run))

    def wait(self) -> None:
        """Until keys and revocations were looked for, for a few seconds at most: better a moment later than a good
        token refused, or a revoked one taken."""
        self.keys.wait()
        self._shared.wait()

    def drain(self) -> None:
        """Close every connection with 1012 and wait until they have gone; see `ConnectionRegistry.drain`."""
        self._registry.drain()

    def stop(self) -> None:
        """End the background greenlets."""
        self._started = False
        if self._watchdog is not None:
            self._watchdog.stop()
        with contextlib.suppress(gevent.Timeout):
            gevent.killall(self._background, timeout=CLOSE_SECONDS)
        self._ingest.stop()
        self._shared.stop()
        if self._publisher is not None:
            self._publisher.close()
        self._registry.tick()  # nothing that was counted is lost

    def problems(self) -> list[str]:
        """Why this worker is not ready to serve; nothing if it is."""
        found = self._ingest.problems() + self.keys.problems()
        if self._registry.draining:
            found.append("draining")
        return found

    def _serve_books(self) -> None:
        """Books that had to wait for room, as soon as there is some."""
        waited = False
        while True:
            gevent.sleep(ROOM_SECONDS if waited else 1)
            waited = self._ingest.router.channels.serve_waiting()

    def _run_keeper(self) -> None:
        """The keeper: once a second, figures, and each connection's deadlines."""
        while True:
            gevent.sleep(1)
            self._ingest.interest.sweep()
            self._registry.tick()

    # ---- from clients

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        self.start()
        if not wants_upgrade(environ):
            return self._app(environ, start_response)
        ws = websocket_of(environ)
        address = ""
        try:
            if ws is None:
                raise Refused("501 Not Implemented", _WRONG_WORKER)
            address = client_address(environ, self._settings)
            route = self._handlers.of(environ)
            check_origin(environ, self._settings, by_cookie=route is not None and route.identify is not None)
            self._registry.check_capacity(address)
            wanted = parse_upgrade_request(environ) if route is None else None
            token = token_of(environ) if wanted is None else wanted.token
            identity = self._identify(token, ws, address)
            if identity is None and route is not None:
                identity = identify_request(route, environ)  # may wait
                self._registry.check_capacity(address, waited=True)
        except Refused as refused:
            log_refusal(refused, ws.id if ws is not None else "", address, environ)
            return self._refuse(ws, refused, start_response)
        ws.accept(self._settings)
        switched(start_response)
        self._context.ingest.counters.accepted["private" if identity is not None else "public"] += 1
        if wanted is not None:
            self._registry.serve(PeatioConnection(self._context, ws, address, wanted, identity))
        elif route is not None:
            self._registry.serve(HandlerConnection(self._context, ws, address, environ, identity, route))
        return []

    def _identify(self, token: str | None, ws: WebSocket, address: str) -> Identity | None:
        """Whom the request's token stands for.

        Raises:
            Refused: 401 if it is no good, on whatever path; 429 if too many were; 503 if its key is not there yet.
        """
        if token is None:
            return None
        if seconds := lockout_seconds(self._context, address):
            text = "Too many tokens from this address failed."
            raise Refused("429 Too Many Requests", text, (("Retry-After", str(seconds)),), Close.FULL)
        try:
            identity = verify_token(self._context, token, ws.id, address)
        except TryLater as later:
            headers = (("Retry-After", str(later.seconds)),)
            raise Refused("503 Service Unavailable", f"{later.text.capitalize()}.", headers, Close.FULL) from None
        if identity is None:
            raise unauthorized("The token in Authorization does not verify.")
        return identity

    def _refuse(self, ws: WebSocket | None, refused: Refused, start_response: Callable[..., Any]) -> list[bytes]:
        if ws is None or not ws.accepted_elsewhere:
            return respond(refused, start_response, ends=ws is not None)
        ws.accept(self._settings)
        switched(start_response)
        ws.close(refused.close, refused.reason)
        ws.end()
        return []


def _worker_id(settings: Settings) -> WorkerId:
    host = socket.gethostname()
    return WorkerId(host, f"{host}:{settings.unix or settings.port}", os.getpid())


_WRONG_WORKER = (
    "This server cannot upgrade to WebSocket. Run gunicorn with the worker class peatio_ws.worker.Worker "
    "(gunicorn.conf.py has it) or geventwebsocket.gunicorn.workers.GeventWebSocketWorker."
)


def _with_console(settings: Settings, app: WSGIApp | None, demo: Demo | None) -> WSGIApp:
    """What answers plain HTTP: the application, and the console where `WEBSOCKET_CONSOLE` asks for it or where a
    simulated exchange is all that there is to see."""
    wanted = settings.console
    if wanted is None:
        wanted = demo is not None and app is None
    plain = app or _upgrade_required
    if not wanted:
        return plain
    return Page(plain, app is not None, demo.token if demo is not None else None, MARKET)


def _upgrade_required(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What plain HTTP gets where nothing else answers it: `/healthcheck` as Ranger has it for load balancers, and that
    this is no place for plain HTTP."""
    if environ.get("PATH_INFO") == "/healthcheck" and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return respond(Refused("200 OK", "OK"), start_response)
    text = "This is a WebSocket service: connect with a WebSocket client (ws:// or wss://)."
    return respond(Refused("426 Upgrade Required", text, (("Upgrade", "websocket"),)), start_response)
