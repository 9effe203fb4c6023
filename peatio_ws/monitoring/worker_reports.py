"""What workers report about themselves and their connections, in their answers to an operator's commands. Pure."""

from __future__ import annotations

import msgspec


class MemberConnection(msgspec.Struct, frozen=True, array_like=True):
    """A connection of a member.

    Attributes:
        id: the id that the log uses.
        since: Unix time in seconds.
        waiting: bytes in the outbox.
        streams: empty unless the command asks for them.
    """

    uid: str
    id: str
    protocol: str
    address: str
    since: float
    waiting: int = 0
    streams: list[str] = []


class ClosedConnection(msgspec.Struct, frozen=True, array_like=True):
    """A connection that has ended.

    Attributes:
        at: Unix time in seconds.
        connection: the id that the log uses.
        reason: of the close frame; any text if the client sent it.
        by: who closed it: `client` or `gateway`; `nobody` without a close frame.
        uid: of its member; None if it was anonymous.
        seconds: how long it was open.
    """

    at: float
    connection: str
    code: int
    reason: str
    by: str
    address: str
    protocol: str
    uid: str | None
    seconds: float


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """A handshake or a token that was refused.

    Attributes:
        at: Unix time in seconds.
        connection: the id that the log uses.
        reason: without any part of the token.
        status: of the HTTP answer to a handshake; None for a token in a message.
    """

    at: float
    connection: str
    address: str
    reason: str
    status: int | None = None


class WorkerLoad(msgspec.Struct, frozen=True):
    """What a worker does, up to a second old.

    Attributes:
        max_connections: how many it has room for.
        cpu: share of a core that it used in the last seconds: 1.0 for a whole core.
        memory: resident memory in bytes.
        loop_delay: the longest delay of its event loop in the last seconds, in seconds.
        behind: for how long the broker has been sending faster than the worker reads, in seconds.
        waiting: bytes that wait for slow clients.
        slow: clients that bytes wait for.
        deliveries: messages from the broker since it started.
        frames: text frames queued for clients since it started.
        redis: whether it is connected to Redis; None without REDIS_URL.
    """

    max_connections: int = 0
    cpu: float = 0.0
    memory: int = 0
    loop_delay: float = 0.0
    behind: float = 0.0
    waiting: int = 0
    slow: int = 0
    deliveries: int = 0
    frames: int = 0
    redis: bool | None = None


class WorkerStatus(msgspec.Struct, frozen=True):
    """The status of a worker.

    Attributes:
        version: of the gateway.
        since: when it started to serve; Unix time in seconds.
        connections: open ones, anonymous ones included.
        members: connections of members.
        problems: why it is not ready; empty if it is.
        lag: of the history stream, in seconds.
        load: what it does; empty from a worker of an earlier version.
    """

    version: str
    since: float
    connections: int
    members: int
    problems: list[str]
    lag: float
    load: WorkerLoad = WorkerLoad()
