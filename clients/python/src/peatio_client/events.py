"""The objects that callbacks receive: events, disconnections, refusals; and the names of streams with a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeGuard, TypeVar

CALLBACKS: Final = tuple("event book gap missed resumed stale notice connected disconnected error".split())
"""Names of callbacks that are not streams."""

Body = TypeVar("Body")
Body_co = TypeVar("Body_co", covariant=True)


class Refused(Exception):
    """Reconnecting would not help; the text says why."""


class NoToken(Exception):
    """No token is available now. A `token` function raises it, so that the client asks again later; any other exception
    that it raises ends the client."""


class RequestFailed(Exception):
    """The gateway answered a request with an error; the text is the gateway's."""


@dataclass(frozen=True)  # a generic one with slots cannot be created as Event[Order](…): Python 3.11
class Event(Generic[Body_co]):
    """An event from the gateway. `Event[Order]` has the body of an order; `peatio_client.channels` has the types.

    Attributes:
        stream: `order` or `trade` for the member's own events, otherwise the name of the stream.
        data: the body; numbers with a fraction are `Decimal`, so that no digit is lost.
        cursor: the position after this event, for resuming; None for public streams.
        text: the frame as received.
        mark: the position after this event in a public stream of trades; None for other streams.
    """

    stream: str
    data: Body_co
    cursor: str | None
    text: str
    mark: str | None = None


@dataclass(frozen=True)
class Stream(Generic[Body_co]):
    """The name of a stream, and the type of its events' bodies. Use it wherever a client takes the name of a stream.

    Attributes:
        name: the name alone: `btcusd.trades`.
    """

    name: str

    def has(self, event: Event[Any]) -> TypeGuard[Event[Body_co]]:
        """Return whether an event is of this stream; type checkers then know its body."""
        return event.stream == self.name

    def __str__(self) -> str:
        return self.name


StreamName: TypeAlias = str | Stream[Any]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The client has received all events that it missed, as far as the gateway still has them.

    Attributes:
        complete: whether no private event is missing. If False, `gap` was called before.
    """

    complete: bool


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
