"""Receives an operator's commands and revocations from Redis.

Commands arrive on the channel `peatio_ws:steering`; answers go to lists that expire. A worker that was cut off notices
missed changes of the stored revocations (`stored_revocations.py`) by their version. Workers write back revocations that
Redis has lost. `server/commands.py` executes the commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import gevent.event
import redis
import structlog

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations, read
from peatio_ws.cluster import commands, stored_revocations
from peatio_ws.cluster.commands import AddressLocked, Answer
from peatio_ws.cluster.local_state import CommandTarget
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import CANCELLED_KEY, COMMANDS_CHANNEL, REVOCATIONS_KEY, VERSION_KEY, answers_key
from peatio_ws.cluster.stored_revocations import PAGE
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.concurrency.yielding import SHORTEST_SLEEP

log = structlog.get_logger("peatio_ws.cluster.redis_commands")

CHECK_SECONDS: Final = 0.5
"""How often a worker checks for revocations that it missed."""
START_SECONDS: Final = 2.0
"""How long a starting worker waits for the revocations. If Redis is unreachable, it serves without them."""
RETRY_SECONDS: Final = 0.5
REFUSED_SECONDS: Final = 5.0
"""Time until the next full read while Redis refuses to store the revocations it had lost."""
ANSWER_SECONDS: Final = 30


class RedisCommands:
    """Receives commands for one worker.

    Args:
        connection: to Redis.
        revocations: this worker's revocations.
        lockout: this worker's lockout.
        target: this worker's clients.
    """

    def __init__(
        self, connection: RedisConnection, revocations: Revocations, lockout: Lockout, target: CommandTarget
    ) -> None:
        self._connection = connection
        self._revocations, self._lockout, self._target = revocations, lockout, target
        self._version: object = self  # of the last read; at first a value that Redis cannot have
        self._check_at = 0.0
        self._read = gevent.event.Event()
        self._warned: set[str] = set()
        self._greenlet: gevent.Greenlet[Any, Any] | None = None

    def start(self) -> None:
        """Start to receive commands."""
        self._greenlet = gevent.spawn(supervise, "steering", self._run_listener)

    def stop(self) -> None:
        """Stop receiving commands."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def wait(self) -> None:
        """See `SharedState.wait`."""
        self._read.wait(START_SECONDS)

    def _run_listener(self) -> None:
        connection = self._connection
        while True:
            try:
                generation = connection.generation
                with connection.redis.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
                    listener.subscribe(COMMANDS_CHANNEL)
                    listener.get_message(timeout=CHECK_SECONDS)  # the confirmation; nothing is missed after it
                    self._version, self._check_at = self, 0.0
                    while connection.generation == generation:
                        self._check_revocations()
                        message = listener.get_message(timeout=CHECK_SECONDS)
                        if message is not None:
                            self._on_message(message["data"])
            except (redis.RedisError, OSError) as error:
                if isinstance(error, redis.ResponseError):
                    self._warn_once("Redis refuses the subscription to operator commands", error=str(error))
                self._check_revocations()  # only the subscription may be lost
                gevent.sleep(RETRY_SECONDS)

    def _on_message(self, data: bytes) -> None:
        """Execute a published command. No failure prevents the next command from being received."""
        try:
            command = commands.read_command(data)
            if command is None:
                self._warn_once("unreadable message on the channel of operator commands", bytes=len(data))
            elif isinstance(command, AddressLocked):
                self._lockout.lock(command.address, command.seconds, time.monotonic())
            else:
                for answer in self._target.execute(command):
                    self._answer(answers_key(command.question), answer)
        except Exception:
            log.exception("operator command failed")

    def _answer(self, key: str, answer: Answer) -> None:
        with self._connection.redis.pipeline(transaction=False) as pipe:
            pipe.rpush(key, commands.encode(answer))
            pipe.expire(key, ANSWER_SECONDS)
            self._connection.run("answers to commands", pipe)

    def _check_revocations(self) -> None:
        """Read the revocations if their version has changed."""
        if time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + CHECK_SECONDS
        answer = self._connection.ask("reading revocations", lambda: (self._connection.redis.get(VERSION_KEY),))
        if answer is not None and answer[0] != self._version and self._read_revocations():
            self._version = answer[0]  # the version before the read; later changes are read next time

    def _read_revocations(self) -> bool:
        """Read all revocations from Redis, and write back those it has lost.

        Returns:
            False if Redis became unreachable or refused.
        """
        known, stored, news = self._revocations, Revocations(), 0
        try:
            for rows in stored_revocations.pages(self._connection.redis, CANCELLED_KEY, self._ask):
                now = time.time()
                for one in filter(None, map(read, rows)):
                    known.cancel(one, now)
            for rows in stored_revocations.pages(self._connection.redis, REVOCATIONS_KEY, self._ask):
                now = time.time()
                for one in filter(None, map(read, rows)):
                    stored.add(one, now)
                    news += known.add(one, now)
        except ConnectionError:
            return False
        if known.full:
            self._warn_once("too many revocations; some revoked tokens are accepted")
        if news:
            closed = self._target.close_revoked()
            log.info("revocations read", new=news, known=len(known), closed=closed)
        self._read.set()
        if self._write_back(stored):
            return True
        self._check_at = time.monotonic() + REFUSED_SECONDS
        return False

    def _ask(self, request: Callable[[], Any]) -> Any:
        """Return the answer of Redis. Raises ConnectionError if it became unreachable or refused."""
        answer = self._connection.ask("reading revocations", request)
        if answer is None:
            raise ConnectionError
        return answer

    def _write_back(self, stored: Revocations) -> bool:
        now, lost = time.time(), []
        for number, one in enumerate(self._revocations.known(now), 1):
            if stored.add(one, now):
                lost.append(one)
            if number % PAGE == 0:
                gevent.sleep(SHORTEST_SLEEP)  # only this greenlet adds revocations, so none are added meanwhile
        for at in range(0, len(lost), PAGE):
            with self._connection.redis.pipeline(transaction=True) as pipe:
                stored_revocations.store(pipe, lost[at : at + PAGE], now)
                if self._connection.run("writing revocations", pipe) is None:
                    return False
        if lost:
            log.warning("Redis had lost revocations; they are stored again", revocations=len(lost))
        return True

    def _warn_once(self, text: str, **more: Any) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text, **more)
