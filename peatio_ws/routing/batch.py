"""Frames that events have put into outboxes since the last flush. Router and channels put, the consumer flushes at the
end of each batch read from the broker. Knows neither members nor streams.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

import gevent

from peatio_ws.concurrency.yielding import SHORTEST_SLEEP
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.transport.compression import Variants
from peatio_ws.transport.outbox import NEVER, Outbox, flush_all, put_all

BUSY_SECONDS: Final = 0.008
"""How long writing may continue before other greenlets get a turn."""
AT_A_TIME: Final = 8
"""Clients written to between two looks at the clock."""


class Batch:
    """The outboxes to flush, and the count of frames put into outboxes.

    Args:
        compress_over: frames that are longer, in bytes, are compressed once for the outboxes that negotiated it.

    Attributes:
        taken: how many outboxes have taken what `put` was given, added up over all calls.
    """

    def __init__(self, counters: WorkerCounters, compress_over: int = NEVER) -> None:
        self._touched: list[Outbox] = []
        self._compress_over = compress_over
        self._frames = counters.count(metrics.frames)
        self.taken = 0

    def put(self, frames: bytes | Variants, outboxes: Collection[Outbox], count: int = 1) -> None:
        """Put frames into outboxes, to be sent by `flush`. Never waits.

        Args:
            count: how many frames these are.
        """
        taken = len(outboxes) - put_all(frames, outboxes, self._touched, self._compress_over)
        self.taken += taken
        self._frames.value += count * taken

    def count(self, frames: int) -> None:
        """Count frames that the caller put into an outbox itself, and will flush."""
        self._frames.value += frames

    def flush(self) -> bool:
        """Send what was put since the last call, in one write per client. Return whether there was anything."""
        touched, self._touched, done = self._touched, [], 0
        until = time.monotonic() + BUSY_SECONDS
        try:
            while done < len(touched):
                if done and time.monotonic() > until:
                    gevent.sleep(SHORTEST_SLEEP)
                    until = time.monotonic() + BUSY_SECONDS
                flush_all(touched[done : done + AT_A_TIME])
                done += AT_A_TIME
        finally:
            # If the broker connection is lost, the consumer is killed while it sleeps here. The next consumer flushes
            # the rest.
            self._touched = touched[done:] + self._touched
        return bool(touched)
