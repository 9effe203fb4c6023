"""How a connection ended, and when to come back. Knows no socket, and no clock."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

FIRST_PAUSE: Final = 0.5
"""Seconds, as all times here."""
LONGEST_PAUSE: Final = 30.0
LONGEST_ASKED: Final = 300.0
"""Whoever asks for a longer pause than this is asked again."""
FULL_PAUSE: Final = 5.0
"""At least, where there is no room and no time was given."""
NO_RETURN: Final = frozenset((1002, 1003, 1007, 1009))
"""Close codes after which the same would happen again."""
NEW_TOKEN: Final = frozenset((401, 4401, 4403))
NO_ROOM: Final = frozenset((429, 503, 1013))
TOO_FAST: Final = 1008
"""Too many messages, or tokens that failed: with fewer of them a client may come back, but not at once."""
LOST: Final = 1006
"""Nobody said why."""


class Ended(Exception):
    """How a connection ended. Raised by what talks to the gateway only, never by a callback.

    Attributes:
        code: the close code, an HTTP status, or `LOST`.
        asked: seconds for which the gateway asked to stay away.
    """

    def __init__(self, code: int, reason: str, asked: float = 0.0) -> None:
        super().__init__(code, reason)
        self.code, self.reason, self.asked = code, reason, asked


def closed_with(code: int, reason: str) -> Ended:
    """A close frame (`restart; retry after 3`)."""
    asked = re.search(r"retry after (\d{1,9})", reason)
    return Ended(code, reason, float(asked[1]) if asked else 0.0)


def refused_with(status: int, retry_after: str) -> Ended:
    """An HTTP answer (RFC 9110 section 10.2.3, in seconds; a date does not count)."""
    return Ended(status, f"HTTP {status}", float(retry_after) if re.fullmatch(r"\d{1,9}", retry_after) else 0.0)


class Pauses:
    """How long to wait before coming back: growing, with full jitter, so that many who left together do not return
    together; on top of what the gateway asked for.

    Args:
        chance: gives numbers from 0 to 1.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance, self._failures = chance, 0

    def reset(self) -> None:
        self._failures = 0

    def after(self, ended: Ended) -> float:
        """Seconds; more of them each time."""
        asked = ended.asked
        if (ended.code in NO_ROOM or ended.code == TOO_FAST) and not asked:  # there will hardly be any at once
            self._failures, asked = max(self._failures, 4), FULL_PAUSE
        jitter = self._chance() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return min(asked, LONGEST_ASKED) + jitter
