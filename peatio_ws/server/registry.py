"""The connections of a worker: their limits, their deadlines, and their end when the worker drains.

Knows of a connection only what `RegisteredConnection` contains.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import gevent
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.concurrency.yielding import SHORTEST_SLEEP, TURN_SECONDS
from peatio_ws.config.settings import Settings
from peatio_ws.errors import Refused
from peatio_ws.monitoring import limits, metrics
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server.connections.hooks import Hooks
from peatio_ws.server.connections.recent_ends import RecentEnds
from peatio_ws.server.drain import Drain
from peatio_ws.server.stats import StatsReporter
from peatio_ws.transport.http.client_address import rate_limit_key
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.registry")


class RegisteredConnection(Protocol):
    """A connection, of either kind.

    Attributes:
        address: of the client.
        identity: of the member; None if the connection is not authenticated.
        handles_idle: whether `run` may return before the connection ends.
    """

    ws: WebSocket
    address: str
    handles_idle: ClassVar[bool]

    @property
    def status(self) -> ConnectionStatus:
        """The status, for log and metrics."""

    @property
    def identity(self) -> Identity | None: ...

    @property
    def streams(self) -> Sequence[str]:
        """The streams that the client subscribed to."""

    def run(self) -> bool:
        """Serve until either side closes, or until the connection is idle. Return whether it has ended."""

    def tick(self, now: float) -> None:
        """Check the deadlines. Called about once a second with the monotonic time."""

    def send_cursor(self) -> None:
        """Send the current cursor, before the client is asked to come back."""

    def notify(self, notice: bytes) -> bool:
        """Send an operator's notice if the client asked for notices. Return whether it was sent."""

    def claim_slot(self, name: str, limit: int, reason: str) -> bool:
        """Count the connection towards a limit, here and across workers. Return whether there was room here."""


class ConnectionRegistry:
    """The connections of one worker.

    Args:
        slot_counts: how many connections count towards a limit, by its name; see `SharedState.slot_counts`.
        hooks: of the application.
        ends: gets the connections that end.
    """

    def __init__(
        self, settings: Settings, stats: StatsReporter, slot_counts: Counter[str], hooks: Hooks, ends: RecentEnds
    ) -> None:
        self._hooks, self._ends = hooks, ends
        self._settings, self._stats, self._slot_counts = settings, stats, slot_counts
        self._connections: set[RegisteredConnection] = set()
        self._drain = Drain(self._connections, settings.drain_seconds)
        self._ending = False
        self._operator_drain: gevent.Greenlet[Any, Any] | None = None  # an operator's drain, running or finished

    def __iter__(self) -> Iterator[RegisteredConnection]:
        """Iterate over a copy: connections come and go meanwhile."""
        return iter(list(self._connections))

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def draining(self) -> bool:
        """Whether clients are asked to come back later: the worker ends, or an operator drains it."""
        return self._ending or self._operator_drain is not None

    def check_capacity(self, address: str, waited: bool = False) -> None:
        """Raise Refused (503 or 429) if there is no room for another connection from this address.

        Args:
            waited: whether the request has waited since the first check. It is then refused while the worker ends: all
                other connections may have been closed by now.
        """
        settings = self._settings
        if self._operator_drain is not None or (waited and self._ending):
            raise Refused("503 Service Unavailable", "Draining.", (("Retry-After", "5"),), Close.RESTART)
        if len(self._connections) >= settings.max_connections:
            limits.reached(Limit.CONNECTIONS, most=settings.max_connections)
            raise Refused("503 Service Unavailable", "Full.", (("Retry-After", "5"),), Close.FULL)
        name = self._address_key(address)
        if name is not None and self._slot_counts[name] >= settings.max_per_address:
            limits.reached(Limit.ADDRESS, address=address, most=settings.max_per_address)
            text = "Too many connections from this address."
            raise Refused("429 Too Many Requests", text, (("Retry-After", "5"),), Close.FULL)

    def serve(self, connection: RegisteredConnection) -> None:
        """Serve a connection until it ends, in a dedicated greenlet if possible."""
        self._connections.add(connection)
        if (name := self._address_key(connection.address)) is not None:
            connection.claim_slot(name, self._settings.max_per_address, "too many connections from this address")
        ws = connection.ws
        log.debug(
            "connection opened", connection=ws.id, address=connection.address, protocol=connection.status.protocol
        )
        self._ends.tracing.on_opened(connection)
        self._hooks.opened(connection)
        if self._ending:  # its request took long to arrive, and the drain may be over
            self._drain.close(connection)
        ws.serve(functools.partial(self._run, connection), connection.handles_idle)

    def tick(self) -> None:
        """Check the deadlines of all connections, and report their status. To be called once a second."""
        self._stats.begin()
        until = time.monotonic() + TURN_SECONDS
        for number, connection in enumerate(self):
            if number % 20 == 19 and time.monotonic() > until:
                # Not `let_others_run`: in a flood, all clients that wait for a turn would be served first, each time.
                gevent.sleep(SHORTEST_SLEEP)
                until = time.monotonic() + TURN_SECONDS
            try:
                connection.tick(time.monotonic())
                self._stats.add_connection(connection.status, connection.ws)
            except Exception:  # a bug ends this connection, and not the greenlet that serves all
                log.exception("connection failed", connection=connection.ws.id)
                connection.ws.outbox.abort()
        self._stats.end()

    def set_draining(self, draining: bool) -> None:
        """Stop accepting connections and close those there are, or accept connections again. For an operator."""
        if draining and self._operator_drain is None:
            self._operator_drain = gevent.spawn(self._drain.run)
        elif not draining and self._operator_drain is not None:
            self._operator_drain.kill()
            self._operator_drain = None

    def drain(self) -> None:
        """Close all connections before the worker ends. Wait until they have gone, for `CLOSE_SECONDS` at most."""
        self._ending = True
        self._drain.run()

    def _address_key(self, address: str) -> str | None:
        """Return the name under which connections from an address are counted; None if they are not counted."""
        whose = rate_limit_key(address, self._settings.trusted_proxies) if self._settings.max_per_address else None
        return f"address:{whose}" if whose is not None else None

    def _run(self, connection: RegisteredConnection) -> None:
        ended = True
        try:
            ended = connection.run()
        finally:
            if ended:
                self._connections.discard(connection)
                self._stats.add_closed(connection.ws)
                _log_end(connection)
                self._ends.add_close(connection)
                self._hooks.ended(connection)


def _log_end(connection: RegisteredConnection) -> None:
    ws, status, code = connection.ws, connection.status, connection.ws.ending.code
    metrics.closes.labels(ws.ending.by, str(code) if code in Close.__members__.values() else "other").inc()
    log.info(
        "connection closed",
        connection=ws.id,
        address=connection.address,
        code=code,
        seconds=round(time.monotonic() - ws.opened, 3),
        messages=ws.received,
        bytes_received=ws.inbox.received_bytes,
        bytes_sent=ws.outbox.sent,
        protocol=status.protocol,
        uid=status.uid,
    )
