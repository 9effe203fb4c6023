"""An operator's side of steering: sends a command to all workers through Redis, and collects their answers.

Used by the command line (`cli/operator/`) and by the operator's HTTP interface (`server/operator_port/`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Answer, Command, MemberConnection, WorkerId
from peatio_ws.cluster.redis_commands import store_revocations
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, REVOCATIONS_KEY, answers_key
from peatio_ws.config import tls_files
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError

ANSWER_SECONDS: Final = 3
"""Time limit for the next answer of a worker. Redis 5 accepts whole seconds only."""
REDIS_SECONDS: Final = 5.0


@dataclass
class CommandResult:
    """The result of a command.

    Attributes:
        workers: the number of workers that received it.
        answers: the last answer of each worker.
        members: the connections of members that they reported.
        places: the worker of each of these connections, by the connection's id.
    """

    workers: int
    answers: list[Answer] = field(default_factory=list)
    members: list[MemberConnection] = field(default_factory=list)
    places: dict[str, WorkerId] = field(default_factory=dict)

    @property
    def meant(self) -> list[Answer]:
        """The answers of the workers that the command was for."""
        return [answer for answer in self.answers if answer.meant]

    @property
    def connections(self) -> int:
        """How many connections the command affected."""
        return sum(answer.connections for answer in self.answers)

    @property
    def silent(self) -> int:
        """The number of workers that did not answer in time."""
        return max(0, self.workers - len(self.answers))


def new_question() -> str:
    """Return an id for a command and its answers."""
    return uuid.uuid4().hex


def redis_url(environ: Mapping[str, str]) -> str:
    """Return `REDIS_URL`, checked, with the certificate files of `REDIS_CA_FILE` and related variables.

    Raises:
        ConfigurationError: it is missing or invalid, or one of the files is.
    """
    given = {name: value for name, value in environ.items() if name.startswith("REDIS_") and value.strip()}
    url = Settings.limits_from_env(given).redis_url
    if url is None:
        raise ConfigurationError(
            ["REDIS_URL is not set: set it to the Redis that the gateways use, for example redis://host:6379/0"]
        )
    if faults := tls_files.faults(given):
        raise ConfigurationError(faults)
    return url


class Operator:
    """A connection to the Redis of the gateways.

    Raises:
        redis.RedisError, OSError: from all methods, if Redis is unreachable or does not answer.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            protocol=2,  # Redis 5 has no HELLO
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name="peatio_ws_operator",
        )

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def revocations_left(self) -> int:
        """Return how many more revocations fit."""
        self._redis.zremrangebyscore(REVOCATIONS_KEY, 0, time.time())
        return REVOCATIONS_KEPT - int(self._redis.zcard(REVOCATIONS_KEY))

    def send(self, command: Command, revoked: Revocation | None = None) -> CommandResult:
        """Publish a command, and wait for the answers.

        Args:
            revoked: stored in the same transaction, for workers that do not receive the command.

        Raises:
            ValueError: no worker would understand the command.
        """
        message = commands.encode(command)
        if commands.read_command(message) is None:
            raise ValueError("a UID, a JTI and a NAME have 1 to 256 characters")
        with self._redis.pipeline(transaction=True) as pipe:
            if revoked is not None:
                store_revocations(pipe, [revoked], time.time())
            pipe.publish(COMMANDS_CHANNEL, message)
            result = CommandResult(int(pipe.execute()[-1]))
        key = answers_key(command.question)
        while result.silent and (found := self._redis.blpop([key], ANSWER_SECONDS)):
            answer = commands.read_answer(bytes(found[1]))  # type: ignore[arg-type]  # the client decodes nothing
            if answer is not None:
                _add(result, answer)
        self._redis.delete(key)
        return result


def _add(result: CommandResult, answer: Answer) -> None:
    for connection in answer.members:
        result.members.append(connection)
        result.places[connection.id] = answer.place
    if answer.last:
        result.answers.append(answer)
