"""Growing pauses between attempts, and their limits for the broker, greenlets and books.

Pure, except for randomness: does not wait.
"""

from __future__ import annotations

import random
from typing import Final

BROKER_PAUSES: Final = (0.5, 5.0)
"""First and longest pause before a reconnect to the broker, in seconds."""
RESTART_PAUSES: Final = (0.4, 30.0)
"""First and longest pause before a failed greenlet is restarted, in seconds."""
REDIS_BOOKS_PAUSES: Final = (0.5, 60.0)
"""First and longest pause before a book that no worker has is requested again, in seconds."""
_MOST_DOUBLINGS: Final = 16


class Backoff:
    """Pauses that double with each failed attempt, up to a limit.

    Args:
        first: seconds before the second attempt.
        longest: longest pause in seconds.
        jitter: largest random reduction of a pause, as a part from 0 to 1, so that workers do not retry in step.
    """

    def __init__(self, first: float, longest: float, jitter: float = 0.5) -> None:
        self._first, self._longest, self._jitter, self._failures = first, longest, jitter, 0

    def next_pause(self) -> float:
        """Return the seconds to wait before the next attempt."""
        pause: float = min(self._longest, self._first * 2 ** min(self._failures, _MOST_DOUBLINGS))
        self._failures += 1
        return pause * random.uniform(1 - self._jitter, 1) if self._jitter else pause

    def reset(self) -> None:
        """Start again with the first pause, after an attempt has succeeded."""
        self._failures = 0
