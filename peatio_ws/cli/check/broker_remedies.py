"""How `check` interprets the answers of a broker about exchanges, queues, the history stream and permissions.

Receives the operation under way and the code of the answer; does not ask the broker itself (`broker_check.py`). The
texts of the broker are shown, but decide nothing.
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
"""The first version of RabbitMQ with streams."""
_FLAG_UNTIL: Final = (3, 12)
"""Since this version, the feature flag of streams is always on."""


class Operation(enum.Enum):
    """An operation on a broker, and the permission that it needs."""

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
    """Why a broker refused an operation.

    Attributes:
        code: its reply code (AMQP 0-9-1 section 1.2); None if it did not answer, or answered without a code.
        said: the text of the broker, to be shown.
        exchange, routing_key: of a binding.
    """

    operation: Operation
    code: int | None
    said: str
    exchange: str = ""
    routing_key: str = ""


_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 406
_NO_SUCH_TYPE: Final = (540, 541)
"""The codes of RabbitMQ 3.9 to 3.11 if the feature flag of streams is off."""
_DEFAULT: Final = "the exchange amq.default"


class BrokerProblem(ErrorCode):
    """What is wrong on a broker that accepted the login, and what to do."""

    NOT_DURABLE = (
        "not_durable",
        "is {other}, and AMQP_EXCHANGES_DURABLE is {setting}",
        "set AMQP_EXCHANGES_DURABLE={wanted}",
    )
    OTHER_EXCHANGE = (
        "other_exchange",
        "is of another type than {kind}, or has other properties than Peatio gives it ({said})",
        "Peatio declares it {kind}; another program does not. Delete it (`rabbitmqadmin delete exchange name={name}`, "
        "or on the management page) and let Peatio make it again; or correct the virtual host",
    )
    FORBIDDEN = "forbidden", "{user!r} lacks `{permission}` on {resource} ({said})", "{permissions}"
    REFUSED = "refused", "{resource} cannot {words} ({said})", "see the log of the broker"
    ALARM = (
        "alarm",
        "the broker accepts no messages: it is low on memory or disk",
        "`rabbitmq-diagnostics alarms` shows which",
    )
    LEFT_BEHIND = (
        "left_behind",
        "a queue of this name was left behind: RabbitMQ {version} has no streams, so nothing reads the queue, and it "
        "fills the broker",
        "`rabbitmqctl delete_queue -p {vhost_word} {name_word}`",
    )
    NO_STREAMS = (
        "no_streams",
        "this broker ({version}) supports no streams: each worker keeps a separate history instead",
        "{flag}AMQP_HISTORY=worker, if that is enough",
    )
    OTHER_ARGUMENTS = (
        "other_arguments",
        "is a queue with other arguments: each worker keeps a separate history instead ({said})",
        "`rabbitmqctl delete_queue -p {vhost_word} {name_word}`, if it is not needed; or set AMQP_HISTORY_QUEUE to "
        "another name",
    )
    NO_REPLICA = (
        "no_replica",
        "cannot be read at this node ({said})",
        "`rabbitmq-streams stream_status {name_word}` lists its members, `rabbitmq-streams add_replica {name_word} "
        "NODE` adds this node",
    )
    UNAVAILABLE = (
        "unavailable",
        "exists, but cannot {words} ({said})",
        "is the node with its leader running? `rabbitmq-streams stream_status {name_word}` shows the nodes. RabbitMQ "
        "rejects messages for an exchange to which such a stream is bound",
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
    """Return the finding of an existing exchange of Peatio, after declaring it as the gateway does.

    Args:
        other: whether only its durability differs from the settings.
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
    """Return the finding of an exchange that does not exist."""
    what = f"exchange {name}"
    if refusal is None:
        text = f"does not exist yet; the gateway will make it ({kind}, {_durable(durable)})"
        return Finding(what, True, text)
    return _refused(server, what, f"the exchange {name}", refusal)


def _durable(durable: bool) -> str:
    return "durable" if durable else "not durable"


def _refused(server: Server, what: str, resource: str, refusal: Refusal) -> Finding:
    """Return the finding of a refusal that is possible for any resource of a broker."""
    code = BrokerProblem.FORBIDDEN if refusal.code == _FORBIDDEN else BrokerProblem.REFUSED
    return _found(code, what, server, refusal, resource=resource)


def own_queue(server: Server, refusals: Sequence[Refusal]) -> Iterator[Finding]:
    """Yield the findings of a queue like a worker's: declared, bound and read."""
    if not refusals:
        yield Finding("queues", True, "can be made, bound and read")
    for refusal in refusals:
        resource = "queues peatio_ws.…"
        if refusal.operation is Operation.BIND:
            key = f" with the routing key {refusal.routing_key}" if refusal.routing_key else ""
            resource += f", or `read` on the exchange {refusal.exchange}{key}"
        yield _refused(server, "queues", resource, refusal)


def publishing(server: Server, refusal: Refusal | None, blocked: bool) -> Finding:
    """Return the finding of publishing to the default exchange, which puts markers into the history stream.

    The gateway publishes to no other exchange. An application's `Publisher` does, if its user may (docs/rabbitmq.md).
    """
    if refusal is None:
        return Finding("publishing", True, f"messages to {_DEFAULT} are confirmed")
    if blocked:
        return _found(BrokerProblem.ALARM, "publishing", server, refusal)
    return _refused(server, "publishing", _DEFAULT, refusal)


# ---- the history stream


def has_streams(version: str) -> bool:
    """Return whether this version of RabbitMQ has streams. Before 3.8, the broker ignores a request for one."""
    return version_of(version) >= STREAMS_SINCE


def existing_history(server: Server, name: str, version: str, there: bool, mode: str) -> Finding:
    """Return the finding of the history on a broker that has no streams.

    Args:
        there: whether a queue of this name exists. It cannot be a stream.
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
        f"RabbitMQ {version} has no streams: each worker keeps a separate history. A client that reconnects to another "
        "worker is notified that events may be missing",
        f"upgrade to RabbitMQ {since} or later; or set AMQP_HISTORY=worker, if that is enough",
    )


def missing_history(server: Server, name: str, version: str, refusal: Refusal | None) -> Finding:
    """Return the finding of a stream that does not exist.

    Args:
        refusal: how the broker refused an exclusive stream, which no broker makes.
    """
    what = f"history {name}"
    if refusal is not None and refusal.code == _CONFLICT:
        return Finding(what, True, "does not exist yet; can be made")
    if refusal is None or refusal.code in _NO_SUCH_TYPE:
        flag = "`rabbitmqctl enable_feature_flag stream_queue`; or " if version_of(version) < _FLAG_UNTIL else ""
        return _found(BrokerProblem.NO_STREAMS, what, server, refusal, version=version, flag=flag)
    if refusal.code == _NOT_FOUND:
        return _found(BrokerProblem.UNAVAILABLE, what, server, refusal, name_word=_word(name))
    return _refused(server, what, f"the queue {name}", refusal)


def history(server: Server, name: str, refusal: Refusal | None, blocked: bool) -> Finding:
    """Return the finding of a queue with the stream's name: declared again, bound, written to and read."""
    what = f"history {name}"
    if refusal is None:
        return Finding(what, True, "is a stream with the right arguments; can be written and read")
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
