"""An operator's side of steering: sends commands to all workers through Redis, and collects their answers.

The only way to steer: the command line (`cli/operator/`) and the operator's HTTP interface (`server/operator_port/`)
use it. `server/commands.py` carries the commands out.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation, read
from peatio_ws.cluster import commands, stored_revocations
from peatio_ws.cluster.commands import (
    Answer,
    CancelCommand,
    CloseCommand,
    ClosesCommand,
    Command,
    DisconnectCommand,
    DrainCommand,
    GatewaysCommand,
    NoticeCommand,
    TraceCommand,
    TraceTarget,
    WhoCommand,
    WorkerId,
)
from peatio_ws.cluster.redis_client import open_client
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, REVOCATIONS_KEY, answers_key
from peatio_ws.cluster.tracing.messages import LEASE_SECONDS, MOST_SECONDS, MOST_TRACES
from peatio_ws.cluster.tracing.reader import TraceReader
from peatio_ws.config import tls_files
from peatio_ws.config.settings import Settings
from peatio_ws.config.tls_errors import REDIS, tls_fault
from peatio_ws.config.urls import redis_place
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring.worker_reports import MemberConnection

ANSWER_SECONDS: Final = 3
"""Time limit for the next answer of a worker. Redis 5 accepts whole seconds only."""
REDIS_SECONDS: Final = 5.0
DAY: Final = 86_400
KEEP_SECONDS: Final = 30.0 * DAY
"""Default life of a revocation."""
NO_REDIS: Final = "REDIS_URL is not set: set it to the Redis that the gateways use, for example redis://host:6379/0"


@dataclass
class CommandResult:
    """The result of a command.

    Attributes:
        workers: the number of workers that received it.
        answers: the last answer of each worker.
        members: the connections of members that they reported.
        places: the worker of each of these connections, by the connection's id.
        revocations: those that the command stored or took back.
    """

    workers: int
    answers: list[Answer] = field(default_factory=list)
    members: list[MemberConnection] = field(default_factory=list)
    places: dict[str, WorkerId] = field(default_factory=dict)
    revocations: list[Revocation] = field(default_factory=list)

    @property
    def meant(self) -> list[Answer]:
        """The answers of the workers that the command was for."""
        return [answer for answer in self.answers if answer.meant]

    @property
    def gateways(self) -> int:
        """The number of gateways that the command was for and that received it."""
        return len({answer.place.gateway for answer in self.meant})

    @property
    def connections(self) -> int:
        """How many connections the command affected."""
        return sum(answer.connections for answer in self.answers)

    @property
    def silent(self) -> int:
        """The number of workers that did not answer in time."""
        return max(0, self.workers - len(self.answers))


class NotFound(LookupError):
    """There is no gateway or no revocation of the name that an operator gave."""


class TooManyTraces(RuntimeError):
    """No worker can begin another trace."""


def redis_url(environ: Mapping[str, str]) -> str:
    """Return `REDIS_URL`, checked, with the certificate files of `REDIS_CA_FILE` and related variables.

    Raises:
        ConfigurationError: it is missing or invalid, or one of the files is.
    """
    given = {name: value for name, value in environ.items() if name.startswith("REDIS_") and value.strip()}
    url = Settings.limits_from_env(given).redis_url
    if url is None:
        raise ConfigurationError([NO_REDIS])
    if faults := tls_files.faults(given):
        raise ConfigurationError(faults)
    return url


@contextlib.contextmanager
def connected(url: str) -> Iterator[Operator]:
    """Open a connection to the Redis of the gateways.

    Raises:
        ConnectionError: Redis is unreachable, refuses or does not answer. The text names it and says why.
    """
    operator = Operator(url)
    try:
        yield operator
    except (redis.RedisError, OSError) as error:
        why = tls_fault(error, REDIS) or str(error) or type(error).__name__
        raise ConnectionError(f"Redis at {redis_place(url)} (REDIS_URL) did not accept the command: {why}") from None
    finally:
        operator.close()


class Operator:
    """A connection to the Redis of the gateways. Each method sends a command to all workers.

    Raises:
        ValueError: from all methods with arguments, for one that no worker would understand.
        redis.RedisError, OSError: from all methods, if Redis is unreachable or does not answer.
    """

    def __init__(self, url: str) -> None:
        self._redis = open_client(url, REDIS_SECONDS, "peatio_ws_operator")

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def who(self, uid: str | None = None, streams: bool = False) -> CommandResult:
        """Return the connections of all members, or of one, oldest first.

        Args:
            streams: with the streams of each connection.
        """
        result = self._send(WhoCommand(_new_question(), uid, streams))
        result.members.sort(key=lambda one: (one.uid, one.since))
        return result

    def status(self) -> CommandResult:
        """Return the status of all workers."""
        return self._send(GatewaysCommand(_new_question()))

    def closes(self) -> CommandResult:
        """Return the last connections that ended, and the last refusals, of all workers."""
        return self._send(ClosesCommand(_new_question()))

    def disconnect(
        self, uid: str, jti: str | None = None, revoke: bool = False, keep: float = KEEP_SECONDS
    ) -> CommandResult:
        """Close the connections of a member, or those that use one token, and optionally revoke tokens.

        Args:
            revoke: also refuse the token `jti`, or all tokens that were issued to the member until now.
            keep: for how many seconds to refuse them: at least the lifetime of a token.

        Raises:
            ValueError: also if the limit of revocations is reached.
        """
        now = time.time()
        if not revoke:
            return self._send(DisconnectCommand(_new_question(), uid, jti))
        self._redis.zremrangebyscore(REVOCATIONS_KEY, 0, now)
        if int(self._redis.zcard(REVOCATIONS_KEY)) >= REVOCATIONS_KEPT:
            raise ValueError("the limit of revocations is reached; nothing was done")
        issued = max(now, stored_revocations.first_after_undo(self._redis, uid, jti))
        revoked = Revocation(uid, now + keep, jti, issued)
        command = DisconnectCommand(_new_question(), uid, jti, revoked)
        result = self._send(command, lambda pipe: stored_revocations.store(pipe, [revoked], now))
        result.revocations = [revoked]
        return result

    def disconnect_connection(self, connection: str) -> CommandResult:
        """Close one connection, by its id in the log."""
        return self._send(CloseCommand(_new_question(), connection))

    def notify(self, text: str, uid: str | None = None) -> CommandResult:
        """Send a text to all clients that asked for notices, or to those of one member."""
        if not 0 < len(text) <= commands.MOST_CHARACTERS:
            raise ValueError(f"a notice has 1 to {commands.MOST_CHARACTERS} characters")
        return self._send(NoticeCommand(_new_question(), text, uid))

    def drain(self, where: str | None, undo: bool = False) -> CommandResult:
        """Drain the gateways of a host, or one gateway (`host:port`), or all (None); or let them accept clients again.

        Raises:
            NotFound: there is none of this name.
        """
        result = self._send(DrainCommand(_new_question(), where, undo))
        if result.workers and not result.meant and not result.silent:
            names = ", ".join(sorted({answer.place.gateway for answer in result.answers}))
            raise NotFound(f"no gateway is called {where}; the gateways are: {names}")
        return result

    def trace(self, target: TraceTarget, seconds: float, bodies: bool = False) -> tuple[CommandResult, TraceReader]:
        """Begin to trace connections. Return the answers of the workers, and what reads their lines, to be closed.

        Args:
            seconds: how long, at most `MOST_SECONDS`.
            bodies: with the texts that clients receive and send, except those with a token.

        Raises:
            TooManyTraces: no worker can begin another trace.
        """
        if not 0 < seconds <= MOST_SECONDS:
            raise ValueError(f"a trace takes up to {MOST_SECONDS} seconds")
        command = TraceCommand(_new_question(), target, bodies, LEASE_SECONDS)
        reader = TraceReader(self._redis, command, seconds)
        result = self._send(command)
        if result.answers and not (result.meant or result.silent):
            raise TooManyTraces(f"each worker has {MOST_TRACES} traces already; end one of them first")
        reader.begin(result.meant, result.silent)
        return result, reader

    # ---- revocations

    def revocations(self) -> list[Revocation]:
        """Return the revocations in force, by member."""
        known, _ = stored_revocations.read_all(self._redis)
        return sorted(known.known(time.time()), key=lambda one: (one.uid, one.jti or ""))

    def cancel_revocations(self, name: str) -> CommandResult:
        """Accept again the tokens of a revoked member, or one revoked token.

        Args:
            name: the uid of the revoked member, or the `jti` of the revoked token. A member's tokens that were revoked
                one by one stay revoked.

        Raises:
            NotFound: there is no such revocation.
        """
        now = time.time()
        known, rows = stored_revocations.read_all(self._redis)
        found = [one for one in known.known(now) if name == (one.uid if one.jti is None else one.jti)]
        if not found:
            raise NotFound(f"there is no revocation of {name}")
        keys = {(one.uid, one.jti) for one in found}
        theirs = [row for row in rows if (one := read(row)) is not None and (one.uid, one.jti) in keys]
        for one in found:
            command = CancelCommand(_new_question(), one)
            result = self._send(command, lambda pipe: stored_revocations.cancel(pipe, found, theirs, now))
            result.revocations = found
        return result

    # ---- Redis

    def _send(self, command: Command, also: Callable[[Any], object] = lambda _: None) -> CommandResult:
        """Publish a command, and wait for the answers.

        Args:
            also: adds requests to the same transaction, for workers that do not receive the command.
        """
        message = commands.encode(command)
        if commands.read_command(message) is None:
            raise ValueError("a UID, a JTI, a NAME and a connection's ID have 1 to 256 characters")
        with self._redis.pipeline(transaction=True) as pipe:
            also(pipe)
            pipe.publish(COMMANDS_CHANNEL, message)
            result = CommandResult(int(pipe.execute()[-1]))
        key = answers_key(command.question)
        with contextlib.suppress(redis.RedisError, OSError):  # the command is sent; without Redis the rest is silent
            while result.silent and (found := self._redis.blpop([key], ANSWER_SECONDS)):
                answer = commands.read_answer(bytes(found[1]))  # type: ignore[arg-type]  # the client decodes nothing
                if answer is not None:
                    _add(result, answer)
            self._redis.delete(key)
        return result


def _new_question() -> str:
    """Return an id for a command and its answers."""
    return uuid.uuid4().hex


def _add(result: CommandResult, answer: Answer) -> None:
    for connection in answer.members:
        result.members.append(connection)
        result.places[connection.id] = answer.place
    if answer.last:
        result.answers.append(answer)
