"""One timer for many things that are due at different times."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import gevent

TOGETHER: Final = 0.005
"""Things that are due within this many seconds of each other are due together."""

Item = TypeVar("Item")


class TimerWheel(Generic[Item]):
    """Calls a function with what is due. Costs nothing while nothing waits.

    Args:
        on_due: called in a greenlet of the wheel with all items that are due. What it raises goes to gevent's hub; the
            wheel goes on.
    """

    def __init__(self, on_due: Callable[[list[Item]], None]) -> None:
        self._on_due = on_due
        self._heap: list[tuple[float, int, Item]] = []
        self._number = itertools.count()  # items of one time in the order in which they were added
        self._timer: gevent.Greenlet[Any, None] | None = None
        self._wakes_at = 0.0

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._heap)

    def add(self, when: float, item: Item) -> None:
        """Let an item be due at a monotonic time."""
        heapq.heappush(self._heap, (when, next(self._number), item))
        self._set_timer()

    def _set_timer(self) -> None:
        """Let the timer end when the first item is due."""
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if when >= self._wakes_at:
                return
            self._timer.kill(block=False)
        self._wakes_at = when
        self._timer = gevent.spawn_later(max(0.0, when - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        until, due = time.monotonic() + TOGETHER, list[Item]()
        while self._heap and self._heap[0][0] <= until:
            due.append(heapq.heappop(self._heap)[2])
        self._set_timer()
        self._on_due(due)
