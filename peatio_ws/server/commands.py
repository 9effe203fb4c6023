"""Carries out an operator's commands on the connections of this worker."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import gevent
import structlog

from peatio_ws.auth.revocations import Revocations
from peatio_ws.close_codes import Close
from peatio_ws.cluster.commands import (
    Answer,
    CancelCommand,
    CloseCommand,
    ClosesCommand,
    Command,
    DisconnectCommand,
    DrainCommand,
    GatewaysCommand,
    NoticeCommand,
    TraceCommand,
    WhoCommand,
    WorkerId,
)
from peatio_ws.concurrency.yielding import SHORTEST_SLEEP
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring.worker_reports import MemberConnection, WorkerLoad, WorkerStatus
from peatio_ws.protocol import encoding
from peatio_ws.routing.batch import BUSY_SECONDS
from peatio_ws.server.connections.recent_ends import RecentEnds
from peatio_ws.server.registry import ConnectionRegistry, RegisteredConnection
from peatio_ws.version import VERSION

log = structlog.get_logger("peatio_ws.server.commands")

BATCH: Final = 500
"""Connections in one answer."""


def worker_id(settings: Settings) -> WorkerId:
    """Return where this process is: its host, its gateway and its id."""
    return WorkerId(host := socket.gethostname(), f"{host}:{settings.unix or settings.port}", os.getpid())


class CommandExecutor:
    """Carries out commands on the connections of one worker.

    Args:
        worker: where this worker is.
        registry: all of them.
        revocations: what is revoked is added.
        problems: returns why the worker is not ready.
        lag: returns the delay of the history stream in seconds.
        load: returns what the worker does.
        ends: what ended and was refused last.
    """

    def __init__(
        self,
        worker: WorkerId,
        registry: ConnectionRegistry,
        revocations: Revocations,
        problems: Callable[[], list[str]] = list,
        lag: Callable[[], float] = float,
        load: Callable[[], WorkerLoad] = WorkerLoad,
        ends: RecentEnds | None = None,
    ) -> None:
        self._worker, self._registry, self._revocations = worker, registry, revocations
        self._problems, self._lag, self._load, self._ends = problems, lag, load, ends or RecentEnds()
        self._since = time.time()

    def execute(self, command: Command) -> Iterator[Answer]:
        """Carry out a command, and yield what was done."""
        match command:
            case WhoCommand(uid=uid, streams=streams):
                yield from self._list_connections(uid, streams)
            case GatewaysCommand():
                yield Answer(self._worker, 0, status=self._status())
            case ClosesCommand():
                yield Answer(self._worker, 0, closes=self._ends.closes, refusals=self._ends.refusals)
            case CloseCommand(connection=wanted):
                yield Answer(self._worker, _close(one for one in self._registry if one.ws.id == wanted))
            case CancelCommand(revoked=revoked):
                self._revocations.cancel(revoked, time.time())
                yield Answer(self._worker, 0)
            case DisconnectCommand():
                yield Answer(self._worker, self._disconnect(command))
            case NoticeCommand(text=text, uid=uid):
                yield Answer(self._worker, self._notify(encoding.notice(text), uid))
            case DrainCommand(where=where, undo=undo):
                yield self._drain(where, undo)
            case TraceCommand():
                yield from self._ends.tracing.execute(command, self._worker, self._registry)

    def close_revoked(self) -> int:
        """Close the connections whose token has been revoked. Return how many there were."""
        now = time.time()
        return _close(
            connection
            for connection in self._registry
            if connection.identity is not None and self._revocations.is_revoked(connection.identity, now)
        )

    def _disconnect(self, command: DisconnectCommand) -> int:
        if command.revoked is not None:
            self._revocations.add(command.revoked, time.time())
        closed = _close(connection for connection in self._registry if command.concerns(connection.identity))
        log.info("member disconnected by operator", uid=command.uid, closed=closed, revoked=command.revoked is not None)
        return closed

    def _status(self) -> WorkerStatus:
        there = [connection for connection in self._registry if not connection.ws.outbox.closing]
        members = sum(connection.identity is not None for connection in there)
        since, lag = round(self._since, 3), round(self._lag(), 3)
        return WorkerStatus(VERSION, since, len(there), members, self._problems(), lag, self._load())

    def _list_connections(self, uid: str | None, streams: bool) -> Iterator[Answer]:
        connections = [connection for connection in self._registry if not connection.ws.outbox.closing]
        own = [connection for connection in connections if _belongs_to(connection, uid)]
        for at in range(0, len(own), BATCH):  # other greenlets run while each is sent
            # Meanwhile a handler may have interrupted the authentication of a connection, which undoes it.
            members = [_describe(one, streams) for one in own[at : at + BATCH] if one.identity is not None]
            yield Answer(self._worker, 0, members=members, last=False)
        yield Answer(self._worker, len(connections))

    def _notify(self, payload: bytes, uid: str | None) -> int:
        """Send a text to all clients that asked for notices. Return how many there are."""
        notified, until = 0, time.monotonic() + BUSY_SECONDS
        for connection in self._registry:
            if (uid is None or _belongs_to(connection, uid)) and connection.notify(payload):
                notified += 1
                if not notified % 8 and time.monotonic() > until:
                    gevent.sleep(SHORTEST_SLEEP)
                    until = time.monotonic() + BUSY_SECONDS
        return notified

    def _drain(self, where: str | None, undo: bool) -> Answer:
        if not self._worker.matches(where):
            return Answer(self._worker, 0, meant=False)
        log.warning("operator ended the drain of this worker" if undo else "operator drains this worker")
        there = len(self._registry)
        self._registry.set_draining(not undo)
        return Answer(self._worker, there)


def _belongs_to(connection: RegisteredConnection, uid: str | None) -> bool:
    """Return whether a connection belongs to this member, or to any member if none is given."""
    identity = connection.identity
    return identity is not None and uid in (None, identity.uid)


def _describe(connection: RegisteredConnection, streams: bool) -> MemberConnection:
    assert connection.identity is not None
    since = time.time() - (time.monotonic() - connection.ws.opened)
    return MemberConnection(
        connection.identity.uid,
        connection.ws.id,
        connection.status.protocol,
        connection.address,
        round(since, 3),
        connection.ws.outbox.size,
        list(connection.streams) if streams else [],
    )


def _close(connections: Iterable[RegisteredConnection]) -> int:
    """Close connections at once; data that waits for them is not sent. Return how many were open."""
    closed = 0
    for connection in connections:
        if not connection.ws.outbox.closing:
            connection.ws.outbox.close(Close.REVOKED, cut=True)
            closed += 1
    return closed
