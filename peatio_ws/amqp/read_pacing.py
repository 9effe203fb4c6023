"""Decides when the broker's reader lets other greenlets run."""

from __future__ import annotations

import time
from typing import Any, Final

import gevent

from peatio_ws.concurrency.yielding import SHORTEST_SLEEP

BUSY_SECONDS: Final = 0.008
"""How long the reader may run without letting other greenlets run."""


class ReadPacing:
    """Decides after each batch whether to let other greenlets run.

    While the reader keeps up, each read takes all available bytes, and the next read first lets other greenlets run
    (`socket_reader.py`). So an event is sent as soon as it arrives, and events that arrive meanwhile form the next
    batch. Only a reader with a backlog has to yield by the clock.
    """

    def __init__(self) -> None:
        self._yielded = time.monotonic()  # time of the last yield

    def pause(self, connection: Any) -> None:
        """Yield if necessary. Called after each batch; only a `BufferedConnection` knows how the batch was read."""
        transport = getattr(connection, "transport", None)
        if getattr(transport, "drained", False):
            return
        waited_until: float = getattr(transport, "rested", 0.0)
        if time.monotonic() - max(self._yielded, waited_until) > BUSY_SECONDS:
            gevent.sleep(SHORTEST_SLEEP)
            self._yielded = time.monotonic()
