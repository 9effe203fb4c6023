"""Hooks of an application: functions that are called when connections open and end, of any kind and protocol.

Each call runs in its own greenlet, so that a hook that waits delays no client. Knows no protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import gevent
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.monitoring import limits, metrics, spans
from peatio_ws.server.connections.event_session import HANDLER_FAILURES

log = structlog.get_logger("peatio_ws.server.connections.hooks")

MOST_RUNNING: Final = 10_000
"""Calls that may run or wait at a time in a worker. Above this, hooks are not called, and the log says so."""


class ConnectionInfo(NamedTuple):
    """A connection at the moment of a call.

    Attributes:
        id: as in the log.
        protocol: `classic`, `ranger` or `handler`.
        address: of the client.
        member: the identity; None while the client is anonymous. A classic client authenticates after it has opened.
        seconds: how long it has been open.
        code: its close code once it has ended; None before. 1006 if there was no close frame.
    """

    id: str
    protocol: str
    address: str
    member: Identity | None
    seconds: float
    code: int | None


Hook = Callable[[ConnectionInfo], object]
"""A hook. What it returns is ignored."""
F = TypeVar("F", bound=Callable[..., object])


class Hooks:
    """The hooks of one gateway."""

    def __init__(self) -> None:
        self._connect: list[Hook] = []
        self._disconnect: list[Hook] = []
        self._running: dict[str, gevent.Greenlet[Any, Any]] = {}  # the last call of a connection, by its id

    def on_connect(self, hook: F) -> F:
        """See `Gateway.on_connect`."""
        self._connect.append(hook)
        return hook

    def on_disconnect(self, hook: F) -> F:
        """See `Gateway.on_disconnect`."""
        self._disconnect.append(hook)
        return hook

    def opened(self, connection: Any) -> None:
        """Call the hooks for a connection that has opened. Never waits."""
        if self._connect:
            self._call(self._connect, _info(connection, None))

    def ended(self, connection: Any) -> None:
        """Call the hooks for a connection that has ended, after those for its opening have returned. Never waits."""
        if self._disconnect:
            self._call(self._disconnect, _info(connection, connection.ws.ending.code))

    def wait(self, seconds: float) -> None:
        """Wait until all hooks have returned, for this long at most."""
        gevent.joinall(list(self._running.values()), timeout=seconds)

    def _call(self, hooks: list[Hook], info: ConnectionInfo) -> None:
        if len(self._running) >= MOST_RUNNING:
            limits.log_line(log, "hooks not called; too many are running", "warning", running=MOST_RUNNING)
            return
        call = gevent.spawn(_run, hooks, info, self._running.get(info.id))
        self._running[info.id] = call
        call.link(lambda ended: self._running.get(info.id) is ended and self._running.pop(info.id))


def _info(connection: Any, code: int | None) -> ConnectionInfo:
    ws = connection.ws
    seconds = round(time.monotonic() - ws.opened, 3)
    return ConnectionInfo(ws.id, connection.status.protocol, connection.address, connection.identity, seconds, code)


def _run(hooks: list[Hook], info: ConnectionInfo, before: gevent.Greenlet[Any, Any] | None) -> None:
    if before is not None:
        before.join()
    for hook in hooks:
        name = str(getattr(hook, "__qualname__", hook))
        try:
            with spans.handling(name, info.id):
                hook(info)
        except HANDLER_FAILURES:  # it harms no other hook
            metrics.handler_failures.labels(name).inc()
            log.exception("handler failed", connection=info.id, handler=name)
