"""Counts failed tokens per address, and locks out an address for the rest of the minute.

Pure: callers pass the time, as monotonic seconds. `redis_limits.py` exchanges the counts with other workers.
"""

from __future__ import annotations

import math
from typing import Final

WINDOW_SECONDS: Final = 60.0
ADDRESSES_KEPT: Final = 20_000


class _Window:
    """One minute of an address, from its first failure."""

    __slots__ = ("count", "ends", "unreported")

    def __init__(self, ends: float) -> None:
        self.count = self.unreported = 0
        self.ends = ends


class Lockout:
    """The failures that one worker counted, and those that other workers reported.

    Args:
        limit: failures in a minute after which further tokens are rejected unread until the minute ends; 0 means
            no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._windows: dict[str, _Window] = {}
        self._unreported: dict[str, None] = {}  # addresses, oldest first

    def add(self, address: str, now: float) -> bool:
        """Count a failed token of an address. Return whether this failure reached the limit."""
        if not self.limit:
            return False
        window = self._window(address, now)
        window.count += 1
        window.unreported += 1
        self._unreported[address] = None
        return window.count == self.limit

    def seconds_left(self, address: str, now: float) -> int:
        """Return for how many seconds the address stays locked out; 0 if it is not."""
        window = self._windows.get(address)
        if window is None or window.count < self.limit:
            return 0
        return max(0, math.ceil(window.ends - now))

    def unreported(self, now: float) -> list[tuple[str, int]]:
        """Return addresses with the number of failures not yet reported to other workers.

        Failures of minutes that are over are discarded.
        """
        for address in [address for address in self._unreported if self._windows[address].ends <= now]:
            del self._unreported[address]
        return [(address, self._windows[address].unreported) for address in self._unreported]

    def add_total(self, address: str, count: int, total: int, seconds: float, now: float) -> bool:
        """Record that `count` failures were reported, and that all workers together counted `total`.

        Args:
            seconds: time left in the minute of the address.

        Returns:
            Whether the reported total made the address reach the limit.
        """
        window = self._window(address, now)
        before, window.unreported = window.count, max(0, window.unreported - count)
        if not window.unreported:
            self._unreported.pop(address, None)
        window.count = max(total + window.unreported, before)
        window.ends = now + min(seconds, WINDOW_SECONDS)
        return before < self.limit <= window.count

    def lock(self, address: str, seconds: float, now: float) -> None:
        """Lock out an address that reached the limit on another worker."""
        if self.limit:
            self.add_total(address, 0, self.limit, seconds, now)

    def _window(self, address: str, now: float) -> _Window:
        window = self._windows.get(address)
        if window is None or window.ends <= now:
            self._forget(address)
            if len(self._windows) >= ADDRESSES_KEPT:
                self._forget(next(iter(self._windows)))  # the oldest
            window = self._windows[address] = _Window(now + WINDOW_SECONDS)
        return window

    def _forget(self, address: str) -> None:
        self._windows.pop(address, None)
        self._unreported.pop(address, None)
