"""When to renew a session token. Does not verify tokens; the gateway does."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime
from typing import Final

EARLY_SECONDS: Final = 60.0
"""How long before `exp` to renew; a quarter of the remaining time, if that is less."""
SHORTEST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0


def claim(token: str, name: str) -> float | None:
    """Return a time of a JWT as Unix time: `exp` or `iat` (RFC 7519 sections 4.1.4 and 4.1.6). None if it cannot be
    read."""
    try:
        payload = token.split(".")[1]
        value = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))[name]
        return float(value) if math.isfinite(value) else None
    except (ValueError, LookupError, TypeError, OverflowError):
        return None


def expired(token: str, now: float) -> str:
    """Return that a token has expired, and what to do; an empty text if it has not."""
    exp = claim(token, "exp")
    if exp is None or not 0 <= exp <= now:
        return ""
    at = datetime.fromtimestamp(exp, UTC)
    return f"it expired at {at:%Y-%m-%d %H:%M:%S} UTC; give a function that returns a new token"


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
        self._exp, iat = claim(token, "exp"), claim(token, "iat")
        if self._exp is None:
            self.due = math.inf
            return
        if iat is not None:  # if the clock of this machine is behind, the token ends before its `exp`
            self._exp = min(self._exp, now + max(0.0, self._exp - iat))
        if (left := self._exp - now) > 0:
            self.due, self._failures = self._exp - min(EARLY_SECONDS, left / 4), 0
        else:
            self.put_off(now)  # the clock of this machine is ahead, or the token has expired

    def stop(self) -> None:
        """Stop renewing: the gateway accepts no token."""
        self.due = math.inf

    def put_off(self, now: float) -> None:
        """Postpone: no fresh token was available. Try after half of the remaining time, then at growing intervals."""
        left = (self._exp or now) - now
        self.due = now + max(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(self._failures, 30)), left / 2)
        self._failures += 1

    def again(self, now: float, seconds: float) -> None:
        """Renew after this time."""
        self.due = now + seconds
