"""When a session's token has to be followed by a fresh one. Verifies nothing: that is the gateway's."""

from __future__ import annotations

import base64
import json
import math
from typing import Final

EARLY_SECONDS: Final = 60.0
"""Before `exp`; a quarter of what is left, if that is less."""
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0


def expiry(token: str) -> float | None:
    """`exp` of a JWT, Unix time (RFC 7519 section 4.1.4); None where none can be read."""
    try:
        payload = token.split(".")[1]
        exp = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(exp) if math.isfinite(exp) else None
    except (ValueError, LookupError, TypeError, OverflowError):
        return None


class Renewal:
    """When the token that the gateway has should be followed by another one.

    Attributes:
        due: Unix time; infinite if never.
    """

    def __init__(self) -> None:
        self.due = math.inf
        self._exp: float | None = None
        self._failures = 0

    def shown(self, token: str, now: float) -> None:
        """The gateway was shown this one."""
        self._exp = expiry(token)
        if self._exp is None:
            self.due = math.inf
        elif (left := self._exp - now) > 0:
            self.due, self._failures = self._exp - min(EARLY_SECONDS, left / 4), 0
        else:
            self.put_off(now)  # by this machine's clock, which is ahead, or all of them would be over

    def stop(self) -> None:
        """None is taken."""
        self.due = math.inf

    def put_off(self, now: float) -> None:
        """There was no fresh one to be had: after half of what is left, and then less and less often."""
        left = (self._exp or now) - now
        self.due = now + max(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(self._failures, 30)), left / 2)
        self._failures += 1
