"""Draining a worker: every client is asked to come back later, a few at a time.

Knows of a connection only what `Drained` says; does not know why the worker is drained.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final, Protocol

import gevent

from peatio_ws.close_codes import Close
from peatio_ws.routing.replay import RETURN_SECONDS, come_again
from peatio_ws.transport.outbox import CLOSE_SECONDS
from peatio_ws.transport.websocket import WebSocket

DRAIN_STEP: Final = 0.1
"""Seconds between two groups of clients."""
DRAIN_AT_ONCE: Final = 20
"""Clients in a group, at least."""
RETURN_A_SECOND: Final = 1000
"""Clients told to come back are spread over a second more for each so many."""


class Drained(Protocol):
    """A connection that can be drained."""

    ws: WebSocket

    def tell_place(self) -> None:
        """Send the last cursor, before the close frame."""


class Drain:
    """Closes the connections of a worker with 1012, over `WEBSOCKET_DRAIN_SECONDS`.

    Each client is given a time to return, so that neither this host nor the next one has all of them at once.

    Args:
        connected: the connections, which come and go meanwhile.
        seconds: the time over which they are closed.
    """

    def __init__(self, connected: Collection[Drained], seconds: float) -> None:
        self._connected, self._seconds = connected, seconds

    def run(self) -> None:
        """Ask every client to come back later, and wait until they have gone, for `CLOSE_SECONDS` at most."""
        clients = list(self._connected)
        if not clients:
            return
        steps = max(1, min(round(self._seconds / DRAIN_STEP), len(clients) // DRAIN_AT_ONCE))
        for step in range(steps):
            for client in clients[step::steps]:
                self._close(client)
            gevent.sleep(DRAIN_STEP)
        give_up = time.monotonic() + CLOSE_SECONDS
        while self._connected and time.monotonic() < give_up:
            for client in list(self._connected):
                self._close(client)  # one that connected meanwhile
            gevent.sleep(DRAIN_STEP)
        for client in list(self._connected):
            client.ws.outbox.abort()

    def _close(self, client: Drained) -> None:
        client.tell_place()
        spread = max(RETURN_SECONDS, len(self._connected) // RETURN_A_SECOND)
        client.ws.outbox.close(Close.RESTART, come_again(spread))
