"""What a client's course (`_course.py`) asks of whoever has the socket and calls the callbacks.

A command that fails is told by throwing what it raised into the course: `Ended` if the connection ended.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

from peatio_client.events import Event


class AskToken(NamedTuple):
    """Answer with a token; with None if there is none after so many seconds. It is still asked for then, and the next
    command answers with what came of that.
    """

    seconds: float


class Open(NamedTuple):
    """Connect."""

    address: str
    headers: dict[str, str]


class Receive(NamedTuple):
    """Answer with the next frame; with None after so many seconds."""

    seconds: float


class Send(NamedTuple):
    """Send this."""

    text: str


class Speak(NamedTuple):
    """Send what there is to say about streams, now and, where the pace says so, later: see `Course.next_message`."""


class Shut(NamedTuple):
    """Close the connection, if there is one."""


class Wait(NamedTuple):
    """Come back after so many seconds, or when the client is closed."""

    seconds: float


class Tell(NamedTuple):
    """Call the callbacks of this name."""

    name: str
    what: Any


class Emit(NamedTuple):
    """The consumer's next event; go on when it asks for another one."""

    event: Event


Command: TypeAlias = AskToken | Open | Receive | Send | Speak | Shut | Wait | Tell | Emit
Doing: TypeAlias = Generator[Command, Any, None]
