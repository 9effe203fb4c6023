"""What both clients do with `websockets` in the same way: how they connect, and what its errors mean."""

from __future__ import annotations

import logging
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_client._endings import LOST, Ended, closed_with, refused_with

OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
MOST_BYTES: Final = 16 * 2**20
"""Of one frame; a book can be long."""
MOST_FRAMES: Final = 16
"""That wait for the consumer; then reading stops."""

_log = logging.getLogger("peatio_client.line")
_log.setLevel(logging.CRITICAL)  # the library's: a lost line is told as "disconnected", and no error


def options(headers: dict[str, str], silence: float) -> dict[str, Any]:
    """How to connect.

    Args:
        silence: seconds without a sign of life after which a line is dead.
    """
    return {
        "additional_headers": headers,
        "open_timeout": OPEN_SECONDS,
        "close_timeout": min(CLOSE_SECONDS, silence / 12),
        "ping_interval": silence / 3,
        "ping_timeout": silence / 2,
        "max_size": MOST_BYTES,
        "max_queue": MOST_FRAMES,
        "logger": _log,
    }


def ended(error: Exception) -> Ended:
    """What it means that connecting, reading or writing failed."""
    if isinstance(error, InvalidStatus):
        return refused_with(error.response.status_code, error.response.headers.get("Retry-After", ""))
    if not isinstance(error, ConnectionClosed):
        return Ended(LOST, str(error) or type(error).__name__)
    return Ended(LOST, "connection lost") if error.rcvd is None else closed_with(error.rcvd.code, error.rcvd.reason)
