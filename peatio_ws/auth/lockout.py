"""How often tokens from an address failed within a minute, and how long it has to wait then.

Pure: the time is handed in, as monotonic seconds. What other workers counted is told by `redis_limits.py`.
"""

from __future__ import annotations

import math
from typing import Final

WINDOW_SECONDS: Final = 60.0
ADDRESSES_KEPT: Final = 20_000


class _Window:
    """A minute of one address, from its first failure on."""

    __slots__ = ("count", "ends", "unreported")

    def __init__(self, ends: float) -> None:
        self.count = self.unreported = 0
        self.ends = ends


class Lockout:
    """Counts of one worker, and what it knows of the others'.

    Args:
        limit: so many failures in a minute, and nothing more is looked at until it is over; 0 is no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._windows: dict[str, _Window] = {}
        self._unreported: dict[str, None] = {}  # addresses, the one that waits longest first

    def add(self, address: str, now: float) -> bool:
        """A token from there failed; whether that was as often as may be."""
        if not self.limit:
            return False
        window = self._window(address, now)
        window.count += 1
        window.unreported += 1
        self._unreported[address] = None
        return window.count == self.limit

    def seconds_left(self, address: str, now: float) -> int:
        """For how many seconds no token from there is looked at; 0 if it is."""
        window = self._windows.get(address)
        if window is None or window.count < self.limit:
            return 0
        return max(0, math.ceil(window.ends - now))

    def unreported(self, now: float) -> list[tuple[str, int]]:
        """Addresses with failures that the other workers have not been told of, and how many; of minutes that are over
        nobody needs to know any more."""
        for address in [address for address in self._unreported if self._windows[address].ends <= now]:
            del self._unreported[address]
        return [(address, self._windows[address].unreported) for address in self._unreported]

    def add_total(self, address: str, count: int, total: int, seconds: float, now: float) -> bool:
        """So many were told; all workers together counted `total` in a minute that has so many seconds left.

        Returns:
            Whether only that made it as many as may be.
        """
        window = self._window(address, now)
        before, window.unreported = window.count, max(0, window.unreported - count)
        if not window.unreported:
            self._unreported.pop(address, None)
        window.count = max(total + window.unreported, before)
        window.ends = now + min(seconds, WINDOW_SECONDS)
        return before < self.limit <= window.count

    def lock(self, address: str, seconds: float, now: float) -> None:
        """Another worker says that this address is over the limit."""
        if self.limit:
            self.add_total(address, 0, self.limit, seconds, now)

    def _window(self, address: str, now: float) -> _Window:
        window = self._windows.get(address)
        if window is None or window.ends <= now:
            self._forget(address)
            if len(self._windows) >= ADDRESSES_KEPT:
                self._forget(next(iter(self._windows)))  # the minute that began first
            window = self._windows[address] = _Window(now + WINDOW_SECONDS)
        return window

    def _forget(self, address: str) -> None:
        self._windows.pop(address, None)
        self._unreported.pop(address, None)
