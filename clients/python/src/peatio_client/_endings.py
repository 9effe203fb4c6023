"""How a connection ended, and when to reconnect. Knows no socket and no clock."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Final

FIRST_PAUSE: Final = 0.5
"""The first pause is at most this long. All times in this module are in seconds."""
LONGEST_PAUSE: Final = 30.0
"""The default of the option `longest_pause`."""
STEADY_SECONDS: Final = 30.0
"""After a connection of this length, the pauses start from the beginning."""
LONGEST_ASKED: Final = 300.0
"""The client waits no longer than this, whatever delay the gateway asks for."""
FULL_PAUSE: Final = 5.0
"""Shortest pause if the gateway is full and sent no delay."""
NO_RETURN: Final = frozenset((1002, 1003, 1007, 1009))
"""Close codes after which a new connection would fail in the same way."""
UNAUTHORIZED: Final = 401
NEW_TOKEN: Final = frozenset((4401, 4403))
NO_ROOM: Final = frozenset((429, 503, 1013))
TOO_FAST: Final = 1008
"""Too many messages or failed tokens: the client may reconnect, but not at once, and with fewer messages."""
LOST: Final = 1006
"""The connection ended without a close code."""


class Ended(Exception):
    """How a connection ended. Raised only by code that talks to the gateway, never by a callback.

    Attributes:
        code: the close code, an HTTP status, or `LOST`.
        asked: delay in seconds that the gateway asked for.
    """

    def __init__(self, code: int, reason: str, asked: float = 0.0) -> None:
        super().__init__(code, reason)
        self.code, self.reason, self.asked = code, reason, asked


def closed_with(code: int, reason: str) -> Ended:
    """A close frame (`restart; retry after 3`)."""
    asked = re.search(r"retry after (\d{1,9})", reason)
    return Ended(code, reason, float(asked[1]) if asked else 0.0)


def refused_with(status: int, reason: str, retry_after: str) -> Ended:
    """An HTTP answer (RFC 9110 section 10.2.3, in seconds; a date does not count)."""
    return Ended(status, reason, float(retry_after) if re.fullmatch(r"\d{1,9}", retry_after) else 0.0)


class Pauses:
    """The pauses before reconnecting: they grow, with full jitter, so that many clients that were disconnected at the
    same time do not reconnect at the same time. They are added to the delay that the gateway asked for.

    Args:
        chance: returns numbers from 0 to 1.
        longest: the longest pause in seconds, without the delay that the gateway asked for.
    """

    def __init__(self, chance: Callable[[], float] = random.random, longest: float = LONGEST_PAUSE) -> None:
        self._chance, self._longest, self._failures = chance, longest, 0

    def connected(self, seconds: float) -> None:
        """Start from the beginning if a connection lasted long enough."""
        if seconds > STEADY_SECONDS:
            self._failures = 0

    def after(self, ended: Ended) -> float:
        """Return the next pause in seconds; it grows with each call."""
        asked = ended.asked
        if (ended.code in NO_ROOM or ended.code == TOO_FAST) and not asked:  # retrying soon would fail again
            self._failures, asked = max(self._failures, 4), FULL_PAUSE
        jitter = self._chance() * min(self._longest, FIRST_PAUSE * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return min(asked, LONGEST_ASKED) + jitter
