"""Who may use the operator's HTTP interface: the bearer of `ADMIN_TOKEN`.

Failures are counted by address, for all workers of a gateway: gunicorn's master makes the memory for them, which its
workers share.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import mmap
import secrets
import struct
import time
from typing import Any, Final

import structlog

from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server.operator_port.response import Response, error
from peatio_ws.transport.http.client_address import client_address, rate_limit_key

log = structlog.get_logger("peatio_ws.server.operator_port.access")

MOST_FAILURES: Final = 10
"""Failures of an address in `WINDOW_SECONDS`."""
WINDOW_SECONDS: Final = 60.0
FAILURES_KEPT: Final = 1024
_FAILURE: Final = struct.Struct("=d8s")  # monotonic time, and a digest of the address
_NEXT: Final = struct.Struct("=Q")


class FailedTokens:
    """The last failures of all addresses, in memory that is shared with processes forked later.

    Two processes that count at the same moment may count one failure instead of two.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NEXT.size + FAILURES_KEPT * _FAILURE.size)
        self._secret = secrets.token_bytes(16)

    def add(self, address: str, now: float) -> None:
        """Count a failure. `now`: monotonic seconds, which all processes of a machine share."""
        (number,) = _NEXT.unpack_from(self._memory)
        place = _NEXT.size + number % FAILURES_KEPT * _FAILURE.size
        _FAILURE.pack_into(self._memory, place, now, self._digest(address))
        _NEXT.pack_into(self._memory, 0, number + 1)

    def seconds_left(self, address: str, now: float) -> int:
        """Return for how long an address may not try again; 0 if it may."""
        own = self._digest(address)
        times = sorted(
            at
            for at, whose in _FAILURE.iter_unpack(self._memory[_NEXT.size :])
            if whose == own and at > now - WINDOW_SECONDS
        )
        return math.ceil(times[-MOST_FAILURES] + WINDOW_SECONDS - now) if len(times) >= MOST_FAILURES else 0

    def _digest(self, address: str) -> bytes:
        return hashlib.blake2b(address.encode(), digest_size=8, key=self._secret).digest()


_failed: Final = FailedTokens()


def refusal(environ: dict[str, Any], settings: Settings, token: str) -> Response | None:
    """Return the answer to a request without the token, or from an address with too many failures; else None."""
    address, now = client_address(environ, settings), time.monotonic()
    key = rate_limit_key(address, settings.trusted_proxies) or address
    if seconds := _failed.seconds_left(key, now):
        limits.reached(Limit.OPERATORS_TOKENS, address=address)
        text = f"too many requests with a wrong token; try again in {seconds} s"
        return error("429 Too Many Requests", text, ("Retry-After", str(seconds)))
    scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
    if scheme.lower() == "bearer" and right:
        return None
    _failed.add(key, now)
    limits.log_line(log, "operator token refused", "warning", address=address)
    text = "send the ADMIN_TOKEN of the gateway as Authorization: Bearer …"
    return error("401 Unauthorized", text, ("WWW-Authenticate", "Bearer"))
