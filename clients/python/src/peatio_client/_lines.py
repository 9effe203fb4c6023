"""How both clients use `websockets`: the options of a connection, and what errors mean."""

from __future__ import annotations

import logging
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_client._endings import LOST, Ended, closed_with, refused_with

OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
MOST_BYTES: Final = 16 * 2**20
"""Largest frame; a book can be long."""
MOST_FRAMES: Final = 16
"""Frames that wait for the consumer before the client stops reading."""

_log = logging.getLogger("peatio_client.line")
_log.setLevel(logging.CRITICAL)  # the library logs errors; a lost connection is reported as "disconnected"


def options(headers: dict[str, str], silence: float) -> dict[str, Any]:
    """Return the options of a connection.

    Args:
        silence: seconds without a sign of life after which a connection is dead.
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
    """Return how a connection ended, from an error in connecting, reading or writing."""
    if isinstance(error, InvalidStatus):
        return refused_with(error.response.status_code, error.response.headers.get("Retry-After", ""))
    if not isinstance(error, ConnectionClosed):
        return Ended(LOST, str(error) or type(error).__name__)
    return Ended(LOST, "connection lost") if error.rcvd is None else closed_with(error.rcvd.code, error.rcvd.reason)
