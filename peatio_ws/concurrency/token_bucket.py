"""A token bucket: a limit of a rate that allows bursts. Pure: the caller passes the time."""

from __future__ import annotations


class TokenBucket:
    """Full at first.

    Args:
        most: tokens that it holds: how many may be taken at once.
        per_second: tokens that `refill` adds for each second.

    Attributes:
        tokens: how many are left.
    """

    __slots__ = ("_filled_at", "_most", "_per_second", "tokens")

    def __init__(self, most: float, per_second: float) -> None:
        self._most, self._per_second = most, per_second
        self.tokens: float = most
        self._filled_at = 0.0

    def refill(self, now: float) -> None:
        """Add the tokens of the time since the last call.

        Args:
            now: monotonic seconds.
        """
        if self.tokens < self._most:
            self.tokens = min(self._most, self.tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now

    def take(self, count: float = 1) -> bool:
        """Take tokens, all of them or none. Return whether there were enough."""
        if self.tokens < count:
            return False
        self.tokens -= count
        return True
