"""The commands that a client's course (`_course.py`) yields to the client with the socket and the callbacks.

If a command fails, the client throws the exception into the course: `Ended` if the connection ended.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

from peatio_client.events import Event


class AskToken(NamedTuple):
    """Answer with a token, or with None if none is available within `seconds`. The call then continues, and the next
    `AskToken` answers with its result.
    """

    seconds: float


class Open(NamedTuple):
    """Open a connection."""

    address: str
    headers: dict[str, str]


class Receive(NamedTuple):
    """Answer with the next frame, or with None after `seconds`."""

    seconds: float


class Send(NamedTuple):
    """Send a message."""

    text: str


class Speak(NamedTuple):
    """Send the pending changes of streams, now or as soon as the pace allows: see `Course.next_message`."""


class Shut(NamedTuple):
    """Close the connection, if there is one."""


class Wait(NamedTuple):
    """Return after `seconds`, or when the client is closed."""

    seconds: float


class Tell(NamedTuple):
    """Call the callbacks of this name."""

    name: str
    what: Any


class Emit(NamedTuple):
    """Pass an event to the consumer; continue when it asks for the next one."""

    event: Event[Any]


Command: TypeAlias = AskToken | Open | Receive | Send | Speak | Shut | Wait | Tell | Emit
Doing: TypeAlias = Generator[Command, Any, None]


def rest(command: Command, seconds: float) -> Command:
    """Return the command to continue with after a cancellation. A command with a time limit has that much less left."""
    if isinstance(command, Wait | AskToken):
        return command._replace(seconds=max(0.0, command.seconds - seconds))
    return command
