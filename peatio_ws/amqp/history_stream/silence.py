"""How long nothing has arrived from a stream. Does not know the broker, or what arrives."""

from __future__ import annotations

import time
from typing import Final

SILENT_CHECKS: Final = 2
"""A reader is dead if a marker that is in the stream does not arrive within this many checks. Checks are counted
instead of seconds, because a worker that is frozen makes none."""
_SUSPENDED_TOO: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux only; CLOCK_MONOTONIC of macOS includes suspended time."""


class Silence:
    """The time since the last delivery.

    Attributes:
        last_at: when the last delivery arrived, by `now`; 0 before the first.
    """

    def __init__(self) -> None:
        self.last_at = 0.0
        self._checks = self._tag = 0

    @property
    def seconds(self) -> float | None:
        """How long nothing has arrived; None before the first delivery."""
        return now() - self.last_at if self.last_at else None

    @property
    def since(self) -> float:
        """When the last delivery arrived, in monotonic time; 0 before the first."""
        return time.monotonic() - (now() - self.last_at) if self.last_at else 0.0

    def restart(self) -> None:
        """Count the checks from 0, because a new marker is published."""
        self._checks = 0

    def is_dead(self, tag: int, awaited: bool) -> bool:
        """Return whether the reader is dead. Call it once per check.

        Args:
            tag: delivery tag of the last delivery.
            awaited: whether a marker that is in the stream has not arrived yet.
        """
        if tag != self._tag:
            self._checks, self._tag = 0, tag
        elif awaited:
            self._checks += 1
        return self._checks >= SILENT_CHECKS


def now() -> float:
    """Return a monotonic time that includes suspended time, as the age of events in the stream does."""
    return max(time.monotonic(), time.clock_gettime(_SUSPENDED_TOO))
