"""What the server should do for a client: actions that a session returns (`session.py`) and a connection executes
(`server/connections/peatio_connection.py`).

The order of actions is the order for the client. A client that does not resume is admitted by `AwaitBroker`, `Admit`,
the replies, `GoLive`; one that resumes by `Admit`, `Resume`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close


@dataclass(frozen=True, slots=True)
class Verify:
    """Verify a token, then call `Session.on_verified` or `Session.on_postponed` with this action.

    Attributes:
        resume: the message's `resume`, as JSON decodes it (contract section 5).
        notices: whether the message asks for operators' notices.
        echo: see `encoding.with_echo`.
    """

    token: str
    resume: object = None
    notices: bool = False
    echo: bytes = b""


@dataclass(frozen=True, slots=True)
class AwaitBroker:
    """Wait, for a limited time, until the worker receives private events. A client that does not resume would miss
    those published before."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Prepare the connection for its member's events. The client receives them only after `GoLive` or `Resume`."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class FindMemberId:
    """Look up the member id of an admitted member that had none: its newer token may have it, or Redis by now."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class GoLive:
    """Send the client its member's events from now on."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send the client these streams from now on, their current books first; but those of a `Follow` only with that."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendBooks:
    """Send the current books of `-inc` streams that the client has already and asked for again."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop sending the client these streams."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Send the client this text."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Follow:
    """Send this reply, then streams of trades with marks: what the client missed, and every event from then on
    (docs/protocol.md, "Trades across a cut").

    Attributes:
        streams: each with the client's mark; None to begin now.
        lacking: streams of which the client may miss events in any case.
        echo: see `encoding.with_echo`.
    """

    payload: bytes
    streams: tuple[tuple[str, str | None], ...]
    lacking: tuple[str, ...] = ()
    echo: bytes = b""


@dataclass(frozen=True, slots=True)
class Resume:
    """Send this reply with a cursor, then the events since the client's cursor (contract section 5).

    Attributes:
        cursor: the last cursor that the client saw; None if it sent none.
        echo: see `encoding.with_echo`.
        follow: streams of trades that begin with the same reply.
    """

    payload: bytes
    cursor: str | None
    echo: bytes = b""
    follow: Follow | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """Send the missed events now, if they are guaranteed: the client has subscribed to a private stream."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call the handler of this event.

    Attributes:
        echo: for the handler's replies; see `encoding.with_echo`.
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
    Verify
    | AwaitBroker
    | Admit
    | FindMemberId
    | GoLive
    | Subscribe
    | SendBooks
    | Unsubscribe
    | Reply
    | Follow
    | Resume
    | Replay
    | Call
    | HangUp
)
