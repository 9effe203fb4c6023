"""The objects that callbacks receive: events, disconnections, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Refused(Exception):
    """Reconnecting would not help. A `token` callable may raise it to end the client."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event from the gateway.

    Attributes:
        stream: `order` or `trade` for the member's own events, otherwise the name of the stream.
        data: the body; numbers with a fraction are `Decimal`, so that no digit is lost.
        cursor: the position after this event, for resuming; None for public streams.
        text: the frame as received.
    """

    stream: str
    data: Any
    cursor: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection that ended, or could not be opened.

    Attributes:
        code: the close code; 1006 if the connection ended without one; an HTTP status if the gateway answered with one.
        reason: the reason from the close frame, or the error.
        pause: seconds until the next attempt; None if the client makes no further attempt.
    """

    code: int
    reason: str
    pause: float | None
