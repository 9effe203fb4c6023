"""When to renew a session token. Does not verify tokens; the gateway does."""

from __future__ import annotations

import base64
import json
import math
from typing import Final

EARLY_SECONDS: Final = 60.0
"""How long before `exp` to renew; a quarter of the remaining time, if that is less."""
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0


def expiry(token: str) -> float | None:
    """Return `exp` of a JWT as Unix time (RFC 7519 section 4.1.4), or None if it cannot be read."""
    try:
        payload = token.split(".")[1]
        exp = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(exp) if math.isfinite(exp) else None
    except (ValueError, LookupError, TypeError, OverflowError):
        return None


class Renewal:
    """When the token that the gateway has should be renewed.

    Attributes:
        due: Unix time; infinite for never.
    """

    def __init__(self) -> None:
        self.due = math.inf
        self._exp: float | None = None
        self._failures = 0

    def shown(self, token: str, now: float) -> None:
        """Schedule the renewal of a token that was sent to the gateway."""
        self._exp = expiry(token)
        if self._exp is None:
            self.due = math.inf
        elif (left := self._exp - now) > 0:
            self.due, self._failures = self._exp - min(EARLY_SECONDS, left / 4), 0
        else:
            self.put_off(now)  # the clock of this machine is ahead, or the token has expired

    def stop(self) -> None:
        """Stop renewing: the gateway accepts no token."""
        self.due = math.inf

    def put_off(self, now: float) -> None:
        """Postpone: no fresh token was available. Try after half of the remaining time, then less and less often."""
        left = (self._exp or now) - now
        self.due = now + max(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(self._failures, 30)), left / 2)
        self._failures += 1
