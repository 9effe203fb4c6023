"""What a worker has done in the last seconds: its CPU, and the longest delay of its event loop. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

ROUNDS: Final = 5
"""Rounds that are looked back on; there is one a second."""


class RecentLoad:
    """The load of one worker. `add_round` is called once a second."""

    def __init__(self) -> None:
        self._rounds: deque[tuple[float, float]] = deque(maxlen=ROUNDS + 1)
        self._delays: deque[float] = deque([0.0], maxlen=ROUNDS)  # the longest of each round, the last one unfinished

    def add_delay(self, seconds: float) -> None:
        """Add a delay of the event loop."""
        if seconds > self._delays[-1]:
            self._delays[-1] = seconds

    def add_round(self, now: float, cpu: float) -> None:
        """End a round.

        Args:
            now: monotonic time in seconds.
            cpu: seconds of CPU that the process has used.
        """
        self._rounds.append((now, cpu))
        self._delays.append(0.0)

    @property
    def longest_delay(self) -> float:
        """The longest delay of the event loop in the last rounds, in seconds."""
        return max(self._delays)

    @property
    def cpu(self) -> float:
        """The share of a core that the process used in the last rounds: 1.0 for a whole core. 0 before two rounds."""
        if len(self._rounds) < 2:
            return 0.0
        (first, before), (last, after) = self._rounds[0], self._rounds[-1]
        return (after - before) / (last - first) if last > first else 0.0
