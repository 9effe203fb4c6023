"""What a client tells of: events, endings, refusals. Knows nothing of how they come about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Refused(Exception):
    """Coming back would not help. A `token` callable may raise it, too, to end the client."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        stream: `order` or `trade` for what is the member's own, else the stream's name.
        data: its body; numbers with a fraction are `Decimal`, so that no digit is lost.
        cursor: where the client is behind it; None for public streams.
        text: the frame as it came.
    """

    stream: str
    data: Any
    cursor: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection that ended, or did not come about.

    Attributes:
        code: the close code; 1006 if nobody said; an HTTP status if the gateway answered with one.
        reason: what was said about it.
        pause: seconds until the next attempt; None if there is none.
    """

    code: int
    reason: str
    pause: float | None
