"""When the greenlet that reads the broker lets others run."""

from __future__ import annotations

import time
from typing import Any, Final

import gevent

BUSY_SECONDS: Final = 0.008
"""How long the loop may go on without letting other greenlets run."""


class ReadPacing:
    """When the loop lets others run.

    While the reader keeps up, each read takes all that is there, and the next one lets others run before it reads
    (`socket_reader.py`): an event goes out as soon as it comes, and what comes while one batch goes out is the next
    one. Only a reader with a backlog has to be interrupted, by the clock.
    """

    def __init__(self) -> None:
        self._yielded = time.monotonic()  # the last time

    def pause(self, connection: Any) -> None:
        """After each batch. `connection` tells how it came, if it is an `BufferedConnection`."""
        transport = getattr(connection, "transport", None)
        if getattr(transport, "drained", False):
            return
        waited_until: float = getattr(transport, "rested", 0.0)
        if time.monotonic() - max(self._yielded, waited_until) > BUSY_SECONDS:
            gevent.sleep(1e-6)  # sleep(0) would hardly let I/O run
            self._yielded = time.monotonic()
