"""The WSGI application: serves WebSocket upgrades, and passes all other requests to the wrapped application.

Also starts, drains and stops the services of a worker. Each worker has one `Gateway`.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import gevent

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.jwks_refresh import JwksRefresh
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cluster.commands import Answer, Command
from peatio_ws.cluster.local_state import open_shared_state
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.console.page import WSGIApp
from peatio_ws.errors import Refused
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.monitoring.watchdog import Watchdog
from peatio_ws.publisher import Publisher
from peatio_ws.server.commands import CommandExecutor, worker_id
from peatio_ws.server.connections.handler_connection import HandlerConnection
from peatio_ws.server.connections.hooks import Hooks
from peatio_ws.server.connections.identification import identify_request, verify_token
from peatio_ws.server.connections.peatio_connection import PeatioConnection
from peatio_ws.server.connections.recent_ends import RecentEnds
from peatio_ws.server.connections.upgrade_request import (
    agree_on_subprotocol,
    check_origin,
    parse_upgrade_request,
    token_of,
    unauthorized,
)
from peatio_ws.server.context import Authenticator, WorkerContext
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.server.plain_http import with_console
from peatio_ws.server.registry import ConnectionRegistry
from peatio_ws.server.routes import F, Handlers, Identify
from peatio_ws.server.stats import StatsReporter
from peatio_ws.server.tracing.tracing import Tracing
from peatio_ws.simulator.demo import Demo
from peatio_ws.transport.http.client_address import client_address
from peatio_ws.transport.http.handshake import switch_protocols, wants_upgrade
from peatio_ws.transport.outbox import CLOSE_SECONDS
from peatio_ws.transport.websocket_handler import WRONG_WORKER, log_refusal, refuse, websocket_of

ROOM_SECONDS: Final = 0.05
"""The pause between two checks for room while a book waits for it."""


class Gateway:
    """A WSGI application that speaks Peatio's WebSocket protocols.

    Args:
        settings: see `Settings.from_env`.
        app: receives every request that is not an upgrade. Without it, such a request is answered with 426, or with the
            console (`page.py`).
        peatio_paths: the only paths of Peatio's protocols, with or without a last slash. An upgrade on another path
            without a handler is answered with 404. None: all paths without a handler are Peatio's.

    Attributes:
        keys: the published key set.
    """

    _all: ClassVar[weakref.WeakSet[Gateway]] = weakref.WeakSet()

    def __init__(
        self, settings: Settings, app: WSGIApp | None = None, peatio_paths: Iterable[str] | None = None
    ) -> None:
        self._demo = Demo(settings) if settings.simulation else None
        if self._demo is not None:
            settings = self._demo.settings
        self._settings = settings
        self._app = with_console(settings, app, self._demo)
        revocations = Revocations(settings.jwt_issued_at_leeway)
        self._shared = open_shared_state(settings.redis_url, revocations, Lockout(settings.max_failures_per_address))
        counters = WorkerCounters()
        self._ingest = BrokerIngest(settings, self._shared, counters)
        verifier = Verifier(settings.token_rules)
        self.keys = JwksRefresh(settings.token_rules, verifier)
        self._handlers = Handlers(peatio_paths)
        self._ends = RecentEnds(Tracing(self._shared.publish))
        authenticator = Authenticator(settings, verifier, self.keys, self._shared, counters, self._ends)
        self._context = WorkerContext.build(
            settings, authenticator, self._shared, self._ingest, self._handlers, counters, self._ends.tracing
        )
        self._counters = counters
        self._stats = StatsReporter(settings, counters, self._ingest, self._shared)
        self._hooks = Hooks()
        self._registry = ConnectionRegistry(settings, self._stats, self._shared.slot_counts, self._hooks, self._ends)
        self._publisher: Publisher | None = None
        self._started = False
        self._executor: CommandExecutor | None = None
        self._watchdog: Watchdog | None = None
        self._background: list[gevent.Greenlet[Any, Any]] = []
        Gateway._all.add(self)

    @classmethod
    def from_env(cls, app: WSGIApp | None = None, peatio_paths: Iterable[str] | None = None) -> Gateway:
        """Create a gateway from the environment. Raise ConfigurationError with all faults of it."""
        return cls(Settings.from_env(), app, peatio_paths)

    @classmethod
    def instances(cls) -> list[Gateway]:
        """Return the gateways of this process, even those wrapped in middleware."""
        return list(cls._all)

    # ---- handlers

    def websocket(
        self, path: str, identify: Identify | None = None, subprotocols: Iterable[str] = ()
    ) -> Callable[[F], F]:
        """Decorate a function that serves the WebSockets of a path. It gets a `HandlerConnection`, and may block.

        When it returns, the connection is closed with 1000. `Disconnect` closes with its own code, any other exception
        with 1011 and a traceback in the log.

        Args:
            path: matched exactly, with or without a last slash, below any prefix at which the gateway is mounted. A
                segment `<name>` matches any text but an empty one, and is passed to the function as `name`.
            identify: identifies the client of a request without a token, for applications that use a cookie. It is
                called with the WSGI environ before the upgrade, in the request's greenlet. It returns a uid; an
                `Identity(uid, role=…)` for a member with a role, or what `verify` returns; or None for an anonymous
                client. `Refused` is sent as answer; any other exception is a 500 with a traceback in the log. Pages of
                other sites send the cookie, too: with `identify`, `*` in `API_CORS_ORIGINS` means only the host itself.
            subprotocols: those that the function speaks. `ws.subprotocol` is the first that the client offers, if any.

        Raises:
            ValueError: the path or a subprotocol is invalid, or the path has a handler.
        """
        return lambda handler: self._handlers.add_path(path, handler, identify, subprotocols)

    def on(self, event: str) -> Callable[[F], F]:
        """Decorate a function that handles each `{"event":"<event>",…}` of a client, of either protocol. It gets an
        `EventSession` and the message, and may block. Messages of one client are handled in order.

        It answers with `session.reply`. `ClientError` is sent to the client as an error, `Disconnect` closes. After any
        other exception the client gets a generic error, the log gets a traceback, and the connection stays.

        Raises:
            ValueError: the name is built in, or has a handler.
        """
        return lambda handler: self._handlers.add_event(event, handler)

    def verify(self, token: str, environ: dict[str, Any]) -> Identity | None:
        """Return the identity of a token, without its scheme, that an `identify` found in a request; None if it is
        refused. Raise Refused, which `identify` lets pass, if it cannot be verified yet (429, 503).
        """
        connection, address = getattr(websocket_of(environ), "id", ""), client_address(environ, self._settings)
        return verify_token(self._context.authenticator, token, connection, address)

    def on_connect(self, hook: F) -> F:
        """Decorate a function that is called with a `ConnectionInfo` when a connection has opened, of any kind.

        It may block. An exception is logged and counted like one of a handler.
        """
        return self._hooks.on_connect(hook)

    def on_disconnect(self, hook: F) -> F:
        """Decorate a function that is called with a `ConnectionInfo` when a connection has ended, after `on_connect`
        has returned for it. It may block. A worker that exits waits for it a few seconds."""
        return self._hooks.on_disconnect(hook)

    @property
    def publisher(self) -> Publisher:
        """Return the publisher to members and streams through the gateway's broker, usable from any greenlet."""
        if self._publisher is None:
            self._publisher = Publisher(";".join(self._settings.amqp_urls), self._settings.amqp_durable)
        return self._publisher

    # ---- start and stop

    def start(self) -> None:
        """Connect to the broker and start background work. Idempotent, and possible again after `stop`. Called by the
        worker, or by the first request."""
        if self._started:
            return
        self._started = True
        self._executor = CommandExecutor(
            worker_id(self._settings), self._registry, self._shared.revocations,
            self.problems, self._ingest.lag, self._stats.load, self._ends,
        )  # fmt: skip
        self._shared.start(self._ingest.channels, self._executor)
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
                self._handlers.events.setdefault(event, handler)  # the application's own handlers have priority
            self._background.append(gevent.spawn(supervise, "simulation", self._demo.run))

    def wait(self) -> None:
        """Wait a few seconds at most until keys and revocations have been read. Before that, the gateway would refuse
        valid tokens or accept revoked ones."""
        self.keys.wait()
        self._shared.wait()

    def drain(self) -> None:
        """Close every connection with 1012 and wait until they have gone; see `ConnectionRegistry.drain`."""
        self._registry.drain()

    def stop(self) -> None:
        """Stop background work and disconnect from the broker."""
        self._started = False
        self._hooks.wait(CLOSE_SECONDS)
        if self._watchdog is not None:
            self._watchdog.stop()
        with contextlib.suppress(gevent.Timeout):
            gevent.killall(self._background, timeout=CLOSE_SECONDS)
        self._ingest.stop()
        self._ends.tracing.stop()
        self._shared.stop()
        if self._publisher is not None:
            self._publisher.close()
        self._registry.tick()  # exports the last counts

    def execute(self, command: Command) -> list[Answer]:
        """Carry out an operator's command on this worker only. Return nothing before `start`."""
        return list(self._executor.execute(command)) if self._executor is not None else []

    def problems(self) -> list[str]:
        """Return why this worker is not ready to serve; empty if it is."""
        found = self._ingest.problems() + self.keys.problems()
        if self._registry.draining:
            found.append("draining")
        return found

    def _serve_books(self) -> None:
        """Send books to clients that had no room for them, as soon as there is room."""
        waited = False
        while True:
            gevent.sleep(ROOM_SECONDS if waited else 1)
            waited = self._ingest.channels.serve_waiting()

    def _run_keeper(self) -> None:
        """Check the deadlines of all connections and export metrics, once a second."""
        while True:
            gevent.sleep(1)
            self._ingest.interest.sweep()
            self._registry.tick()

    # ---- requests

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        self.start()
        if not wants_upgrade(environ):
            return self._app(environ, start_response)
        ws, address = websocket_of(environ), ""
        try:
            if ws is None:
                raise Refused("501 Not Implemented", WRONG_WORKER)
            address = client_address(environ, self._settings)
            route = self._handlers.of(environ)
            check_origin(environ, self._settings, by_cookie=route is not None and route.identify is not None)
            self._registry.check_capacity(address)
            wanted = parse_upgrade_request(environ) if route is None else None
            token = token_of(environ) if wanted is None else wanted.token
            identity = None
            if token is not None:
                identity = verify_token(self._context.authenticator, token, ws.id, address)
                if identity is None:
                    raise unauthorized("The token in Authorization does not verify.")
            if identity is None and route is not None:
                identity = identify_request(route, environ)  # may wait
                self._registry.check_capacity(address, waited=True)
                if identity is not None and self._shared.revocations.is_revoked(identity, time.time()):
                    raise unauthorized("The token has been revoked meanwhile.")
        except Refused as refused:
            connection = ws.id if ws is not None else ""
            log_refusal(refused, connection, address, environ)
            self._ends.add_refused_handshake(connection, address, refused.code, refused.text)
            return refuse(refused, ws, self._settings, start_response)
        ws.accept(self._settings, agree_on_subprotocol(environ, ws, route.subprotocols) if route is not None else None)
        switch_protocols(start_response)
        self._counters.count(metrics.ranger_connected, "public" if identity is None else "private").value += 1
        if wanted is not None:
            self._registry.serve(PeatioConnection(self._context, ws, address, wanted, identity))
        elif route is not None:
            self._registry.serve(HandlerConnection(self._context, ws, address, environ, identity, route))
        return []
