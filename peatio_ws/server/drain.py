"""Draining a worker: it asks every client to come back later, a few at a time.

Knows of a connection only what `DrainableConnection` contains. Does not know why the worker is drained.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final, Protocol

import gevent

from peatio_ws.close_codes import Close
from peatio_ws.concurrency.yielding import SHORTEST_SLEEP
from peatio_ws.routing.replay import RETURN_SECONDS, reconnect_reason
from peatio_ws.transport.outbox import CLOSE_SECONDS
from peatio_ws.transport.websocket import WebSocket

DRAIN_STEP: Final = 0.1
"""Seconds between two groups of clients."""
DRAIN_AT_ONCE: Final = 20
"""The smallest group of clients."""
RETURN_A_SECOND: Final = 1000
"""Returning clients are spread over one second for each of these."""


class DrainableConnection(Protocol):
    """A connection that can be drained."""

    ws: WebSocket

    def send_cursor(self) -> None:
        """Send the last cursor, before the close frame."""


class Drain:
    """Closes the connections of a worker with 1012, over `WEBSOCKET_DRAIN_SECONDS`.

    Each client gets a time to return, so that not all of them reach a host at once.

    Args:
        connections: come and go meanwhile.
        seconds: the time over which they are closed.
    """

    def __init__(self, connections: Collection[DrainableConnection], seconds: float) -> None:
        self._connections, self._seconds = connections, seconds

    def run(self) -> None:
        """Ask every client to come back later. Wait until they have gone, for `CLOSE_SECONDS` at most."""
        if not self._connections:
            return
        # Those that are closed already may be here for long: their handlers wait for something else.
        connections = [connection for connection in self._connections if not connection.ws.outbox.closing]
        steps = max(1, min(round(self._seconds / DRAIN_STEP), len(connections) // DRAIN_AT_ONCE))
        began = time.monotonic()
        for step in range(steps):
            for connection in connections[step::steps]:
                self.close(connection)
            # By the clock: each sleep of a busy worker takes longer, and gunicorn kills a worker that drains too long.
            left = began + (step + 1) * DRAIN_STEP - time.monotonic()
            gevent.sleep(max(left, SHORTEST_SLEEP))
        give_up = time.monotonic() + CLOSE_SECONDS
        while self._connections and time.monotonic() < give_up:
            for connection in list(self._connections):
                self.close(connection)  # includes clients that connected meanwhile
            gevent.sleep(DRAIN_STEP)
        for connection in list(self._connections):
            connection.ws.outbox.abort()

    def close(self, connection: DrainableConnection) -> None:
        """Ask a client to come back later. Idempotent."""
        connection.send_cursor()
        spread = max(RETURN_SECONDS, len(self._connections) // RETURN_A_SECOND)
        connection.ws.outbox.close(Close.RESTART, reconnect_reason(spread))
