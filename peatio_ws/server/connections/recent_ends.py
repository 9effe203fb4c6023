"""The last connections of a worker that ended, and the last handshakes and tokens that it refused, for operators.

They are kept in memory, so that an operator sees them without the log and without Redis; and they are shown in traces.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from peatio_ws.monitoring.worker_reports import ClosedConnection, Refusal
from peatio_ws.server.tracing.tracing import Tracing

if TYPE_CHECKING:
    from peatio_ws.server.registry import RegisteredConnection

KEPT: Final = 50
"""Entries of each kind. What clients end is kept apart, so that it does not displace what the gateway closed."""


class RecentEnds:
    """The last ends and refusals of one worker.

    Attributes:
        tracing: the traces of the worker.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.tracing = tracing or Tracing(lambda *_: None)
        self._by_gateway: deque[ClosedConnection] = deque(maxlen=KEPT)
        self._by_client: deque[ClosedConnection] = deque(maxlen=KEPT)
        self._refusals: deque[Refusal] = deque(maxlen=KEPT)

    @property
    def closes(self) -> list[ClosedConnection]:
        """The connections that ended, newest first."""
        return sorted((*self._by_gateway, *self._by_client), key=lambda one: -one.at)

    @property
    def refusals(self) -> list[Refusal]:
        """The handshakes and tokens that were refused, newest first."""
        return list(reversed(self._refusals))

    def add_close(self, connection: RegisteredConnection) -> None:
        """Add a connection that has ended."""
        ws, status = connection.ws, connection.status
        ending, open_for = ws.ending, time.monotonic() - ws.opened
        kept = self._by_gateway if ending.by == "gateway" else self._by_client
        kept.append(
            ClosedConnection(
                round(time.time(), 3), ws.id, ending.code, ending.reason, ending.by,
                connection.address, status.protocol, status.uid, round(open_for, 3),
            )
        )  # fmt: skip
        self.tracing.on_closed(connection)

    def add_refused_token(self, connection: str, address: str, reason: str) -> None:
        """Add a token that was refused, or cannot be verified yet.

        Args:
            connection: its id in the log.
            reason: without any part of the token.
        """
        self._refusals.append(Refusal(round(time.time(), 3), connection, address, reason))
        self.tracing.on_refused("token", connection, address, reason)

    def add_refused_handshake(self, connection: str, address: str, status: int, reason: str) -> None:
        """Add a handshake that was answered with an HTTP status. If its token was added just before, this completes
        that entry, whose reason says more."""
        self.tracing.on_refused("request", connection, address, reason, status=status)
        last = self._refusals[-1] if self._refusals else None
        if last is not None and last.connection == connection and connection:
            self._refusals[-1] = replace(last, status=status)
        else:
            self._refusals.append(Refusal(round(time.time(), 3), connection, address, reason, status))
