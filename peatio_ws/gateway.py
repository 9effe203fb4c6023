"""The WSGI callable: upgrades for us are served, everything else goes to the wrapped application.

Also a worker's life: start, drain, stop. One `Gateway` a worker.
"""

from __future__ import annotations

import contextlib
import functools
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

import gevent
import structlog

from peatio_ws.auth import Identity, Verifier
from peatio_ws.client import Client
from peatio_ws.embedded import simulate
from peatio_ws.errors import Close, Refused
from peatio_ws.handler import respond, tell_refused, wants_upgrade, websocket_of
from peatio_ws.house import House, verify
from peatio_ws.intake import Intake
from peatio_ws.key_source import KeySource
from peatio_ws.meter import Meter
from peatio_ws.outbox import CLOSE_SECONDS
from peatio_ws.redis_shared import open_shared
from peatio_ws.replay import RETURN_SECONDS, come_again
from peatio_ws.request import Asked, asked, check_origin, client_address, unauthorized
from peatio_ws.settings import Settings
from peatio_ws.supervise import supervise
from peatio_ws.websocket import WebSocket

log = structlog.get_logger("peatio_ws.gateway")

DRAIN_STEP: Final = 0.1
DRAIN_AT_ONCE: Final = 20
RETURN_A_SECOND: Final = 1000
"""Clients told to come back are spread over a second more for each so many."""

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Gateway:
    """A WSGI application that speaks Peatio's WebSocket protocols.

    Args:
        settings: see `Settings.from_env`.
        app: gets every request that is no upgrade; without one such a request is answered with 426.

    Attributes:
        keys: what tokens are verified with.
    """

    _all: ClassVar[weakref.WeakSet[Gateway]] = weakref.WeakSet()

    def __init__(self, settings: Settings, app: WSGIApp | None = None) -> None:
        self._settings = settings
        self._app = app or _upgrade_required
        self._shared = open_shared(settings.redis_url)
        self._intake = Intake(settings, self._shared)
        verifier = Verifier(settings)
        self.keys = KeySource(settings, verifier)
        self._house = House(settings, verifier, self._shared, self._intake)
        self._meter = Meter(self._house)
        self._clients: set[Client] = set()
        self._addresses: Counter[str] = Counter()
        self._draining = False
        self._started = False
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

    # ---- a worker's life

    def start(self) -> None:
        """Begin to hear the broker. Called by the worker, or by the first request; harmless a second time."""
        if self._started:
            return
        self._started = True
        self._shared.start(self._intake.router.feeds)
        self._intake.start()
        self._background = [
            gevent.spawn(supervise, "keeper", self._keep),
            gevent.spawn(supervise, "keys", self.keys.run),
            gevent.spawn(supervise, "probe", self._meter.probe),
        ]
        if self._settings.simulation:
            self._background.append(gevent.spawn(supervise, "simulation", simulate))

    def drain(self) -> None:
        """Tell every client to come back later (1012) and wait until they have gone, for `CLOSE_SECONDS` at most.

        It is done in steps over `WEBSOCKET_DRAIN_SECONDS`, and each client is given a time to return, so that neither
        this host nor the one they go to has all of them at once.
        """
        self._draining = True
        clients = list(self._clients)
        steps = max(1, min(round(self._settings.drain_seconds / DRAIN_STEP), len(clients) // DRAIN_AT_ONCE))
        for step in range(steps):
            for client in clients[step::steps]:
                self._tell_restart(client)
            gevent.sleep(DRAIN_STEP)
        give_up = time.monotonic() + CLOSE_SECONDS
        while self._clients and time.monotonic() < give_up:
            for client in list(self._clients):
                self._tell_restart(client)  # who came meanwhile
            gevent.sleep(DRAIN_STEP)
        for client in list(self._clients):
            client.ws.outbox.abort()

    def _tell_restart(self, client: Client) -> None:
        client.tell_place()
        spread = max(RETURN_SECONDS, len(self._clients) // RETURN_A_SECOND)
        client.ws.outbox.close(Close.RESTART, come_again(spread))

    def stop(self) -> None:
        """End the background greenlets."""
        with contextlib.suppress(gevent.Timeout):
            gevent.killall(self._background, timeout=CLOSE_SECONDS)
        self._intake.stop()
        self._shared.stop()
        self._meter.begin()
        self._meter.end()  # nothing that was counted is lost

    def problems(self) -> list[str]:
        """Why this worker is not ready to serve; nothing if it is."""
        found = self._intake.problems() + self.keys.problems()
        if self._draining:
            found.append("draining")
        return found

    def _keep(self) -> None:
        """The keeper: once a second, figures, books that had to wait, and each connection's deadlines."""
        while True:
            gevent.sleep(1)
            self._intake.sweep()
            self._intake.router.feeds.serve_waiting()
            self._meter.begin()
            for number, client in enumerate(list(self._clients)):
                if number % 500 == 499:
                    gevent.sleep(1e-6)
                client.tick(time.monotonic())
                self._meter.look_at(client)
            self._meter.end()

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
            check_origin(environ, self._settings)
            self._check_room(address)
            wanted = asked(environ)
            identity = self._identify(wanted, ws, address)
        except Refused as refused:
            tell_refused(refused, ws.id if ws is not None else "", address)
            return self._refuse(ws, refused, start_response)
        ws.accept(self._settings)
        client = Client(self._house, ws, address, wanted, identity)
        self._clients.add(client)
        self._addresses[address] += 1
        self._meter.came(identity is not None)
        if self._settings.max_per_address:
            client.sit(f"address:{address}", self._settings.max_per_address, "too many connections from this address")
        ws.serve(functools.partial(self._serve, client))
        return []

    def _identify(self, wanted: Asked, ws: WebSocket, address: str) -> Identity | None:
        """Whom the request's token stands for; Refused with 401 if it is no good, on whatever path."""
        if wanted.token is None:
            return None
        identity = verify(self._house, wanted.token, ws.id, address)
        if identity is None:
            raise unauthorized("The token in Authorization does not verify.")
        return identity

    def _refuse(self, ws: WebSocket | None, refused: Refused, start_response: Callable[..., Any]) -> list[bytes]:
        if ws is None or not ws.accepted_elsewhere:
            return respond(refused, start_response)
        ws.accept(self._settings)
        ws.close(refused.close, refused.text)
        ws.end()
        return []

    def _check_room(self, address: str) -> None:
        settings = self._settings
        if len(self._clients) >= settings.max_connections:
            raise Refused("503 Service Unavailable", "Full.", (("Retry-After", "5"),), Close.FULL)
        if settings.max_per_address and self._addresses[address] >= settings.max_per_address:
            text = "Too many connections from this address."
            raise Refused("429 Too Many Requests", text, (("Retry-After", "5"),), Close.FULL)

    def _serve(self, client: Client) -> None:
        try:
            client.run()
        finally:
            self._clients.discard(client)
            self._meter.left(client)
            self._addresses[client.address] -= 1
            if not self._addresses[client.address]:
                del self._addresses[client.address]


_WRONG_WORKER = (
    "This server cannot upgrade to WebSocket. Run gunicorn with the worker class peatio_ws.worker.Worker "
    "(gunicorn.conf.py has it) or geventwebsocket.gunicorn.workers.GeventWebSocketWorker."
)


def _upgrade_required(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    text = "This is a WebSocket service: connect with a WebSocket client (ws:// or wss://)."
    return respond(Refused("426 Upgrade Required", text, (("Upgrade", "websocket"),)), start_response)
