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
from peatio_ws.cli.check.report import Finding, problem
from peatio_ws.errors import ErrorCode

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


class BrokerProblem(ErrorCode):
    """What is wrong on a broker that lets the gateway in, and what to do."""

    NOT_DURABLE = (
        "not_durable",
        "is {other}, and AMQP_EXCHANGES_DURABLE is {setting}",
        "set AMQP_EXCHANGES_DURABLE={wanted}",
    )
    OTHER_EXCHANGE = (
        "other_exchange",
        "is of another type than {kind}, or has other properties than Peatio gives it ({said})",
        "Peatio declares it {kind}: who does not? Delete it (`rabbitmqadmin delete exchange name={name}`, or on the "
        "management page) and let Peatio make it again; or correct the virtual host",
    )
    FORBIDDEN = "forbidden", "{user!r} lacks `{permission}` on {resource} ({said})", "{permissions}"
    REFUSED = "refused", "{resource} cannot {words} ({said})", "the log of the broker may say more about it"
    ALARM = (
        "alarm",
        "the broker takes no messages from anybody: it has too little memory or disk",
        "`rabbitmq-diagnostics alarms` says which",
    )
    LEFT_BEHIND = (
        "left_behind",
        "a queue of this name was left behind: RabbitMQ {version} has no streams, and nobody reads it while it fills "
        "the broker",
        "`rabbitmqctl delete_queue -p {vhost_word} {name_word}`",
    )
    NO_STREAMS = (
        "no_streams",
        "this broker ({version}) makes no streams: each worker keeps a history of its own instead",
        "{flag}AMQP_HISTORY=worker, if that will do",
    )
    OTHER_ARGUMENTS = (
        "other_arguments",
        "is a queue with other arguments: each worker keeps a history of its own instead ({said})",
        "`rabbitmqctl delete_queue -p {vhost_word} {name_word}`, if nobody needs it; or set AMQP_HISTORY_QUEUE to "
        "another name",
    )
    NO_REPLICA = (
        "no_replica",
        "cannot be read at this node ({said})",
        "`rabbitmq-streams stream_status {name_word}` has its members, `rabbitmq-streams add_replica {name_word} NODE` "
        "adds this node",
    )
    UNAVAILABLE = (
        "unavailable",
        "is there, but cannot {words} ({said})",
        "does the node with its leader run? `rabbitmq-streams stream_status {name_word}` has them; publishers are "
        "refused what they publish to an exchange that such a stream is bound to",
    )


def _found(code: BrokerProblem, what: str, server: Server, refusal: Refusal | None, **fields: str) -> Finding:
    """Return the finding of a problem, with the fields that most of them need."""
    fields |= {"user": server.user, "vhost_word": _word(server.vhost), "permissions": permissions(server)}
    if refusal is not None:
        operation = refusal.operation
        fields |= {"said": one_line(refusal.said), "words": operation.words, "permission": operation.permission}
    return problem(code, what, **fields)


# ---- exchanges and queues


def exchange(server: Server, name: str, kind: str, durable: bool, refusal: Refusal | None, other: bool) -> Finding:
    """Return what was found of one of Peatio's exchanges that exists, declared again as the gateway does it.

    Args:
        other: whether it differs from the settings only in being durable.
    """
    what = f"exchange {name}"
    if refusal is None:
        return Finding(what, True, f"{kind}, {_durable(durable)}")
    if other:
        fields = {"other": _durable(not durable), "setting": str(durable).lower(), "wanted": str(not durable).lower()}
        return _found(BrokerProblem.NOT_DURABLE, what, server, refusal, **fields)
    if refusal.code == _CONFLICT:
        return _found(BrokerProblem.OTHER_EXCHANGE, what, server, refusal, kind=kind, name=name)
    return _refused(server, what, f"the exchange {name}", refusal)


def missing_exchange(server: Server, name: str, kind: str, durable: bool, refusal: Refusal | None) -> Finding:
    """Return what was found of an exchange that does not exist."""
    what = f"exchange {name}"
    if refusal is None:
        text = f"is not there yet; the gateway will make it ({kind}, {_durable(durable)})"
        return Finding(what, True, text)
    return _refused(server, what, f"the exchange {name}", refusal)


def _durable(durable: bool) -> str:
    return "durable" if durable else "not durable"


def _refused(server: Server, what: str, resource: str, refusal: Refusal) -> Finding:
    """Return the problem that any resource of a broker can have."""
    code = BrokerProblem.FORBIDDEN if refusal.code == _FORBIDDEN else BrokerProblem.REFUSED
    return _found(code, what, server, refusal, resource=resource)


def own_queue(server: Server, refusals: Sequence[Refusal]) -> Iterator[Finding]:
    """Yield what was found of a queue like those of a worker: declared, bound and read."""
    if not refusals:
        yield Finding("queues", True, "can be made, bound and read")
    for refusal in refusals:
        resource = "queues peatio_ws.…"
        if refusal.operation is Operation.BIND:
            key = f" with the routing key {refusal.routing_key}" if refusal.routing_key else ""
            resource += f", or `read` on the exchange {refusal.exchange}{key}"
        yield _refused(server, "queues", resource, refusal)


def publishing(server: Server, refusal: Refusal | None, blocked: bool) -> Finding:
    """Return what was found of publishing to the default exchange, by which markers get into the history stream."""
    if refusal is None:
        return Finding("publishing", True, "messages are confirmed")
    if blocked:
        return _found(BrokerProblem.ALARM, "publishing", server, refusal)
    return _refused(server, "publishing", _DEFAULT, refusal)


# ---- the history stream


def has_streams(version: str) -> bool:
    """Return whether RabbitMQ of this version has streams. One before 3.8 ignores that it is asked for one."""
    return version_of(version) >= STREAMS_SINCE


def existing_history(server: Server, name: str, version: str, there: bool, mode: str) -> Finding:
    """Return what was found of the history on a broker that has no streams.

    Args:
        there: whether a queue of this name exists, which cannot be a stream.
        mode: `AMQP_HISTORY`.
    """
    what, since = f"history {name}", ".".join(map(str, STREAMS_SINCE))
    if there:
        return _found(BrokerProblem.LEFT_BEHIND, what, server, None, version=version, name_word=_word(name))
    if mode != "stream":
        return Finding("history", None, f"AMQP_HISTORY={mode}: nothing to try")
    return Finding(
        what,
        None,
        f"RabbitMQ {version} has no streams: each worker keeps a history of its own, and a client that comes back to "
        "another worker is told that it may have missed something",
        f"RabbitMQ {since} or later; or AMQP_HISTORY=worker, if that will do",
    )


def missing_history(server: Server, name: str, version: str, refusal: Refusal | None) -> Finding:
    """Return what was found of a stream that does not exist.

    Args:
        refusal: what the broker has against an exclusive stream, which no broker makes.
    """
    what = f"history {name}"
    if refusal is not None and refusal.code == _CONFLICT:
        return Finding(what, True, "is not there yet; can be made")
    if refusal is None or refusal.code in _NO_SUCH_TYPE:
        flag = "`rabbitmqctl enable_feature_flag stream_queue`; or " if version_of(version) < _FLAG_UNTIL else ""
        return _found(BrokerProblem.NO_STREAMS, what, server, refusal, version=version, flag=flag)
    if refusal.code == _NOT_FOUND:
        return _found(BrokerProblem.UNAVAILABLE, what, server, refusal, name_word=_word(name))
    return _refused(server, what, f"the queue {name}", refusal)


def history(server: Server, name: str, refusal: Refusal | None, blocked: bool) -> Finding:
    """Return what was found of a queue of the stream's name: declared again, bound, written to and read."""
    what = f"history {name}"
    if refusal is None:
        return Finding(what, True, "is a stream with the right arguments, takes messages and brings them")
    step, code = refusal.operation, refusal.code
    if code == _FORBIDDEN:
        return _refused(server, what, _DEFAULT if step is Operation.PUBLISH else f"the queue {name}", refusal)
    problem_code = BrokerProblem.UNAVAILABLE
    if step is Operation.DECLARE and code == _CONFLICT:
        problem_code = BrokerProblem.OTHER_ARGUMENTS
    elif blocked:
        problem_code = BrokerProblem.ALARM
    elif step is Operation.CONSUME and code is not None:
        problem_code = BrokerProblem.NO_REPLICA
    return _found(problem_code, what, server, refusal, name_word=_word(name))
