"""What an operator can tell all workers, and what they answer: messages in JSON, and whom each is for.

Pure: who carries them is `redis_commands.py`'s and `operator.py`'s, who acts on them `server/commands.py`'s.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.revocations import Name, Revocation

MOST_CHARACTERS: Final = 4096
"""Of a notice."""

Question = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8,64}$")]
"""Under which answers are given."""


class WhoCommand(msgspec.Struct, frozen=True, tag="who", tag_field="do"):
    """Who is connected: everybody, or one member."""

    question: Question
    uid: Name | None = None


class DisconnectCommand(msgspec.Struct, frozen=True, tag="disconnect", tag_field="do"):
    """Close a member's connections, all or those of one token.

    Attributes:
        revoked: beside that, refuse its tokens from now on.
    """

    question: Question
    uid: Name
    jti: Name | None = None
    revoked: Revocation | None = None

    def concerns(self, identity: Identity | None) -> bool:
        """Whether a connection that belongs to this identity is to be closed."""
        return identity is not None and identity.uid == self.uid and self.jti in (None, identity.jti)


class NoticeCommand(msgspec.Struct, frozen=True, tag="notice", tag_field="do"):
    """Tell something to all clients that want to be told, or to those of one member."""

    question: Question
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS)]
    uid: Name | None = None


class DrainCommand(msgspec.Struct, frozen=True, tag="drain", tag_field="do"):
    """Take no clients any more and send away those that are there, or (`undo`) take clients again.

    Attributes:
        where: a host, or one gateway on it (`host:port`); None for all there are.
    """

    question: Question
    where: Name | None = None
    undo: bool = False


class AddressLocked(msgspec.Struct, frozen=True, tag="limited", tag_field="do"):
    """Said by a worker: too many tokens from this address failed, over all workers. Nobody answers.

    Attributes:
        seconds: for which no more of them are looked at.
    """

    address: Annotated[str, msgspec.Meta(max_length=256)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)]


Command: TypeAlias = WhoCommand | DisconnectCommand | NoticeCommand | DrainCommand


class WorkerId(msgspec.Struct, frozen=True):
    """Where a worker is.

    Attributes:
        gateway: the host's name and the port (or the socket file) of the gateway that the worker belongs to.
        worker: its process id.
    """

    host: str
    gateway: str
    worker: int

    def matches(self, where: str | None) -> bool:
        """Whether `DrainCommand.where` names it."""
        return where in (None, self.host, self.gateway)


class MemberConnection(msgspec.Struct, frozen=True, array_like=True):
    """A connection of a member.

    Attributes:
        id: as in the log.
        since: Unix time in seconds.
    """

    uid: str
    id: str
    protocol: str
    address: str
    since: float


class Answer(msgspec.Struct, frozen=True):
    """What a worker did.

    Attributes:
        connections: how many it did it to; for `WhoCommand` how many there are, of members or of nobody.
        meant: whether the command was for this worker.
        members: for `WhoCommand`, some of the connections of members.
        last: whether this is the last that this worker has to say.
    """

    place: WorkerId
    connections: int
    meant: bool = True
    members: list[MemberConnection] = []
    last: bool = True


_commands = msgspec.json.Decoder(WhoCommand | DisconnectCommand | NoticeCommand | DrainCommand | AddressLocked)
_answers = msgspec.json.Decoder(Answer)


def read_command(data: bytes) -> Command | AddressLocked | None:
    """What was published on `COMMANDS_CHANNEL`; None for what is no command."""
    try:
        message: Command | AddressLocked = _commands.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return message


def read_answer(data: bytes) -> Answer | None:
    """What a worker answered; None for anything else."""
    try:
        return _answers.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def encode(message: Command | AddressLocked | Answer | Revocation) -> bytes:
    """Any of these as JSON."""
    return msgspec.json.encode(message)
