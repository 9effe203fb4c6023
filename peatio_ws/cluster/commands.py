"""An operator's commands to all workers, and the workers' answers, as JSON messages.

Pure: `redis_commands.py` and `operator.py` send and receive them; `server/commands.py` executes them.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.revocations import Name, Revocation
from peatio_ws.monitoring.worker_reports import ClosedConnection, MemberConnection, Refusal, WorkerStatus

MOST_CHARACTERS: Final = 4096
"""Longest text of a notice."""

Question = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8,64}$")]
"""A random id that the answers to a command refer to."""


class WhoCommand(msgspec.Struct, frozen=True, tag="who", tag_field="do"):
    """List connections: all of them, or those of one member.

    Attributes:
        streams: with the streams of each connection.
    """

    question: Question
    uid: Name | None = None
    streams: bool = False


class GatewaysCommand(msgspec.Struct, frozen=True, tag="gateways", tag_field="do"):
    """Report the status of each worker."""

    question: Question


class ClosesCommand(msgspec.Struct, frozen=True, tag="closes", tag_field="do"):
    """Report the last connections of each worker that ended, and what it refused last."""

    question: Question


class DisconnectCommand(msgspec.Struct, frozen=True, tag="disconnect", tag_field="do"):
    """Close all connections of a member, or those of one token.

    Attributes:
        revoked: in addition, reject these tokens from now on.
    """

    question: Question
    uid: Name
    jti: Name | None = None
    revoked: Revocation | None = None

    def concerns(self, identity: Identity | None) -> bool:
        """Return whether a connection of this identity is to be closed."""
        return identity is not None and identity.uid == self.uid and self.jti in (None, identity.jti)


class CloseCommand(msgspec.Struct, frozen=True, tag="close", tag_field="do"):
    """Close one connection, by its id in the log."""

    question: Question
    connection: Name


class CancelCommand(msgspec.Struct, frozen=True, tag="cancel", tag_field="do"):
    """Accept again the tokens of a revocation."""

    question: Question
    revoked: Revocation


class NoticeCommand(msgspec.Struct, frozen=True, tag="notice", tag_field="do"):
    """Send a text to all clients that subscribed to notices, or to those of one member."""

    question: Question
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS)]
    uid: Name | None = None


class DrainCommand(msgspec.Struct, frozen=True, tag="drain", tag_field="do"):
    """Reject new connections and close the open ones, or (`undo`) accept connections again.

    Attributes:
        where: a host, or one gateway on it (`host:port`); None for all gateways.
    """

    question: Question
    where: Name | None = None
    undo: bool = False


class TraceTarget(msgspec.Struct, frozen=True, omit_defaults=True):
    """The connections that a trace shows: those of a member, those from an address, or one. One field is given."""

    uid: Name | None = None
    address: Name | None = None
    connection: Name | None = None

    def matches(self, uid: str | None, address: str, connection: str) -> bool:
        """Return whether a connection is to be traced.

        Args:
            uid: of its member; None if it is anonymous.
            connection: its id.
        """
        if self.uid is not None:
            return uid == self.uid
        return address == self.address if self.address is not None else connection == self.connection


class TraceCommand(msgspec.Struct, frozen=True, tag="trace", tag_field="do"):
    """Report what connections do; see `tracing/messages.py`. The operator repeats it, or each worker ends the trace.

    Attributes:
        bodies: with the texts that clients receive and send, except those with a token.
        seconds: how long to go on without another such command; 0 ends the trace.
    """

    question: Question
    target: TraceTarget
    bodies: bool = False
    seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0


class AddressLocked(msgspec.Struct, frozen=True, tag="limited", tag_field="do"):
    """A worker's message to the others: an address reached the limit of failed tokens. It is not answered.

    Attributes:
        seconds: how long the address stays locked out.
    """

    address: Annotated[str, msgspec.Meta(max_length=256)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]


Command: TypeAlias = (
    WhoCommand
    | GatewaysCommand
    | ClosesCommand
    | DisconnectCommand
    | CloseCommand
    | CancelCommand
    | NoticeCommand
    | DrainCommand
    | TraceCommand
)


class WorkerId(msgspec.Struct, frozen=True):
    """The host, gateway and process id of a worker.

    Attributes:
        gateway: the host's name and the port (or the socket file) of the gateway that the worker belongs to.
        worker: its process id.
    """

    host: str
    gateway: str
    worker: int

    def matches(self, where: str | None) -> bool:
        """Return whether `DrainCommand.where` includes this worker."""
        return where in (None, self.host, self.gateway)


class Answer(msgspec.Struct, frozen=True):
    """The result of a command on one worker.

    Attributes:
        connections: how many were affected; for `WhoCommand` how many are open, anonymous ones included.
        meant: whether the command applied to this worker. For `TraceCommand` False if the worker has too many traces.
        members: for `WhoCommand`, a part of the members' connections.
        last: whether this is the worker's last answer to the command.
        status: for `GatewaysCommand`.
        closes, refusals: for `ClosesCommand`, newest first.
    """

    place: WorkerId
    connections: int
    meant: bool = True
    members: list[MemberConnection] = []
    last: bool = True
    status: WorkerStatus | None = None
    closes: list[ClosedConnection] = []
    refusals: list[Refusal] = []


_commands = msgspec.json.Decoder(Command | AddressLocked)
_answers = msgspec.json.Decoder(Answer)


def read_command(data: bytes) -> Command | AddressLocked | None:
    """Decode a message on `COMMANDS_CHANNEL`; None if it is not a command."""
    try:
        message: Command | AddressLocked = _commands.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return message


def read_answer(data: bytes) -> Answer | None:
    """Decode a worker's answer; None for any other data."""
    try:
        return _answers.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def encode(message: Command | AddressLocked | Answer | Revocation) -> bytes:
    """Encode a message as JSON."""
    return msgspec.json.encode(message)
