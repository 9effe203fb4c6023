"""What `check` makes of exchanges, queues and the history stream on a broker, and of its user's permissions.

Is told which operation was under way and the code of the answer; does not ask the broker itself (`broker_probe.py`).
The broker's texts decide nothing: they are shown.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from shlex import quote as _word
from typing import Final, NamedTuple

from peatio_ws.cli.check.remedies import Server, one_line, permissions, version_of
from peatio_ws.cli.check.report import Finding

STREAMS_SINCE: Final = (3, 9)
"""Version of RabbitMQ."""
_FLAG_UNTIL: Final = (3, 12)
"""Since then no RabbitMQ runs with the feature flag of streams off."""


class Operation(enum.Enum):
    """What a broker was asked to do, and the permission that its user needs for that."""

    LOOK = "be looked at", ""
    DECLARE = "be declared", "configure"
    BIND = "be bound", "write"
    PUBLISH = "be written to", "write"
    CONSUME = "be consumed", "read"
    READ = "be read", "read"
    DELETE = "be deleted", "configure"

    @property
    def words(self) -> str:
        return self.value[0]

    @property
    def permission(self) -> str:
        return self.value[1]


class Refusal(NamedTuple):
    """What a broker has against an operation.

    Attributes:
        code: its reply code (AMQP 0-9-1 section 1.2); None if it did not answer, or only said no.
        said: its own words, to be shown.
        exchange, routing_key: of a binding.
    """

    operation: Operation
    code: int | None
    said: str
    exchange: str = ""
    routing_key: str = ""


_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 406
_NO_SUCH_TYPE: Final = (540, 541)
"""What RabbitMQ 3.9 to 3.11 answer where the feature flag of streams is off."""
_DEFAULT: Final = "the exchange amq.default"


# ---- what is on the broker


def exchange(server: Server, name: str, kind: str, durable: bool, refusal: Refusal | None, other: bool) -> Finding:
    """One of Peatio's exchanges that is there, declared again as the gateway does it.

    Args:
        other: whether it is as expected but for being durable.
    """
    what = f"exchange {name}"
    if refusal is None:
        return Finding(what, True, f"{kind}, {_durable(durable)}")
    if other:
        text = f"is {_durable(not durable)}, and AMQP_EXCHANGES_DURABLE is {str(durable).lower()}"
        return Finding(what, False, text, f"set AMQP_EXCHANGES_DURABLE={str(not durable).lower()}")
    if refusal.code == _CONFLICT:
        return Finding(
            what,
            False,
            f"is of another type than {kind}, or has other properties than Peatio gives it ({one_line(refusal.said)})",
            f"Peatio declares it {kind}: who does not? Delete it (`rabbitmqadmin delete exchange name={name}`, or "
            "on the management page) and let Peatio make it again; or correct the virtual host",
        )
    return _other(server, what, f"the exchange {name}", refusal)


def exchange_to_be(server: Server, name: str, kind: str, durable: bool, refusal: Refusal | None) -> Finding:
    """One that is not there."""
    what = f"exchange {name}"
    if refusal is None:
        text = f"is not there yet; the gateway will make it ({kind}, {_durable(durable)})"
        return Finding(what, True, text)
    return _other(server, what, f"the exchange {name}", refusal)


def _durable(durable: bool) -> str:
    return "durable" if durable else "not durable"


def _other(server: Server, what: str, resource: str, refusal: Refusal) -> Finding:
    """What holds for whatever a broker was asked for."""
    said = one_line(refusal.said)
    if refusal.code == _FORBIDDEN:
        lacks = f"`{refusal.operation.permission}` on {resource}"
        return Finding(what, False, f"{server.user!r} lacks {lacks} ({said})", permissions(server))
    text = f"{resource} cannot {refusal.operation.words} ({said})"
    return Finding(what, False, text, "the log of the broker may say more about it")


def own_queue(server: Server, refusals: Sequence[Refusal]) -> Iterator[Finding]:
    """A queue like those of a worker: declared, bound and read."""
    if not refusals:
        yield Finding("queues", True, "can be made, bound and read")
    for refusal in refusals:
        resource = "queues peatio_ws.…"
        if refusal.operation is Operation.BIND:
            key = f" with the routing key {refusal.routing_key}" if refusal.routing_key else ""
            resource += f", or `read` on the exchange {refusal.exchange}{key}"
        yield _other(server, "queues", resource, refusal)


def publishing(server: Server, refusal: Refusal | None, blocked: bool) -> Finding:
    """A message to the default exchange, by which markers get into the history stream."""
    if refusal is None:
        return Finding("publishing", True, "messages are confirmed")
    if blocked:
        return _blocked("publishing")
    return _other(server, "publishing", _DEFAULT, refusal)


def _blocked(what: str) -> Finding:
    return Finding(
        what,
        False,
        "the broker takes no messages from anybody: it has too little memory or disk",
        "`rabbitmq-diagnostics alarms` says which",
    )


# ---- the history stream


def has_streams(version: str) -> bool:
    """Whether RabbitMQ of this version has streams. One before 3.8 ignores that it is asked for one."""
    return version_of(version) >= STREAMS_SINCE


def history_of_old(server: Server, name: str, version: str, there: bool, mode: str) -> Finding:
    """The history on a broker that has no streams.

    Args:
        there: whether a queue of this name is, which cannot be a stream.
        mode: `AMQP_HISTORY`.
    """
    what, since = f"history {name}", ".".join(map(str, STREAMS_SINCE))
    if there:
        return Finding(
            what,
            False,
            f"a queue of this name was left behind: RabbitMQ {version} has no streams, and nobody reads it while it "
            "fills the broker",
            f"`rabbitmqctl delete_queue -p {_word(server.vhost)} {_word(name)}`",
        )
    if mode != "stream":
        return Finding("history", None, f"AMQP_HISTORY={mode}: nothing to try")
    return Finding(
        what,
        None,
        f"RabbitMQ {version} has no streams: each worker keeps a history of its own, and a client that comes back to "
        "another worker is told that it may have missed something",
        f"RabbitMQ {since} or later; or AMQP_HISTORY=worker, if that will do",
    )


def history_to_be(server: Server, name: str, version: str, refusal: Refusal | None) -> Finding:
    """A stream that is not there.

    Args:
        refusal: what the broker has against an exclusive stream, which no broker makes.
    """
    what = f"history {name}"
    if refusal is not None and refusal.code == _CONFLICT:
        return Finding(what, True, "is not there yet; can be made")
    if refusal is None or refusal.code in _NO_SUCH_TYPE:
        flag = "`rabbitmqctl enable_feature_flag stream_queue`; or " if version_of(version) < _FLAG_UNTIL else ""
        return Finding(
            what,
            False,
            f"this broker ({version}) makes no streams: each worker keeps a history of its own instead",
            f"{flag}AMQP_HISTORY=worker, if that will do",
        )
    if refusal.code == _NOT_FOUND:
        return _unavailable(what, name, refusal)
    return _other(server, what, f"the queue {name}", refusal)


def history(server: Server, name: str, refusal: Refusal | None, blocked: bool) -> Finding:
    """A queue of the stream's name that is there: declared again, bound, written to and read."""
    what = f"history {name}"
    if refusal is None:
        return Finding(what, True, "is a stream with the right arguments, takes messages and brings them")
    step, code = refusal.operation, refusal.code
    if code == _FORBIDDEN:
        return _other(server, what, _DEFAULT if step is Operation.PUBLISH else f"the queue {name}", refusal)
    if step is Operation.DECLARE and code == _CONFLICT:
        return Finding(
            what,
            False,
            "is a queue with other arguments: each worker keeps a history of its own instead "
            f"({one_line(refusal.said)})",
            f"`rabbitmqctl delete_queue -p {_word(server.vhost)} {_word(name)}`, if nobody needs it; or set "
            "AMQP_HISTORY_QUEUE to another name",
        )
    if blocked:
        return _blocked(what)
    if step is Operation.CONSUME and code is not None:
        return Finding(
            what,
            False,
            f"cannot be read at this node ({one_line(refusal.said)})",
            f"`rabbitmq-streams stream_status {_word(name)}` has its members, "
            f"`rabbitmq-streams add_replica {_word(name)} NODE` adds this node",
        )
    return _unavailable(what, name, refusal)


def _unavailable(what: str, name: str, refusal: Refusal) -> Finding:
    return Finding(
        what,
        False,
        f"is there, but cannot {refusal.operation.words} ({one_line(refusal.said)})",
        f"does the node with its leader run? `rabbitmq-streams stream_status {_word(name)}` has them; publishers are "
        "refused what they publish to an exchange that such a stream is bound to",
    )
