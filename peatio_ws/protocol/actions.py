"""What a session wants done: the words between the protocol (`session.py`) and who carries it out
(`peatio_connection.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close


@dataclass(frozen=True, slots=True)
class Verify:
    """Check this token, then call `Session.verdict`."""

    token: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Have this member's events routed to this worker, and find what its connection has to know for them. They are sent
    only after a `GoLive` or a `Resume`, behind whatever the client is told before.

    Attributes:
        resumes: whether a `Resume` follows, and not a `GoLive`.
    """

    identity: Identity
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class GoLive:
    """From now on this client gets its member's events."""


@dataclass(frozen=True, slots=True)
class Renew:
    """The same member showed a newer token; its expiry counts."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From now on this client gets these streams, first of all their current books."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendBooks:
    """The client asked again for `-inc` streams that it has: send it their current books."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """It gets them no more."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this text to the client."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Resume:
    """Send this reply with a cursor, then what was missed since this one (contract section 5).

    Attributes:
        cursor: the last that the client saw, by what it says; None if it names none.
        echo: see `encoding.with_echo`.
    """

    payload: bytes
    cursor: str | None
    echo: bytes = b""


@dataclass(frozen=True, slots=True)
class Replay:
    """Private streams were added after a `Resume`: send what was missed of them, if that is still to do."""


@dataclass(frozen=True, slots=True)
class Call:
    """Hand this message to the handler of that name.

    Attributes:
        echo: for its replies; see `encoding.with_echo`.
    """

    name: str
    message: dict[str, Any]
    echo: bytes = b""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection."""

    code: Close
    reason: str


Action: TypeAlias = (
    Verify | Admit | GoLive | Renew | Subscribe | SendBooks | Unsubscribe | Reply | Resume | Replay | Call | HangUp
)
