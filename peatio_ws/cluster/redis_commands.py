"""What an operator says, through Redis to this worker: commands, and which tokens are revoked.

Commands come on the channel `peatio_ws:steering` and are answered in lists that expire. Revocations stay in the sorted
set `peatio_ws:revocations`, by the time at which each may be forgotten; with each change of it
`peatio_ws:revocations:version` gets another value, by which a worker that was cut off notices what it did not hear.
What Redis has lost, the workers write down again. What a command means to clients is `server/commands.py`'s.
"""

from __future__ import annotations

import functools
import time
import uuid
from typing import Any, Final

import gevent
import gevent.event
import redis
import structlog

from peatio_ws.auth import revocations as words
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation, Revocations
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import AddressLocked, Answer
from peatio_ws.cluster.local_state import CommandTarget
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, REVOCATIONS_KEY, VERSION_KEY, answers_key
from peatio_ws.concurrency.supervision import supervise

log = structlog.get_logger("peatio_ws.cluster.redis_commands")

MOST_SECONDS: Final = 90 * 86_400
"""A revocation may be kept for so long; after that time without another one Redis forgets the whole set."""
CHECK_SECONDS: Final = 0.5
"""How often is looked whether there are revocations that were not heard of."""
START_SECONDS: Final = 2.0
"""A worker that starts waits so long to know them; if Redis is away it serves without."""
RETRY_SECONDS: Final = 0.5
REFUSED_SECONDS: Final = 5.0
"""After this time all is read again while Redis does not take what it had lost."""
PAGE: Final = 500
ANSWER_SECONDS: Final = 30


def store_revocations(pipe: Any, revoked: list[Revocation], now: float) -> None:
    """Write revocations down, and let every worker notice."""
    pipe.zremrangebyscore(REVOCATIONS_KEY, 0, now)
    pipe.zadd(REVOCATIONS_KEY, {commands.encode(one): one.until for one in revoked})
    pipe.expire(REVOCATIONS_KEY, MOST_SECONDS)
    pipe.set(VERSION_KEY, uuid.uuid4().hex, ex=MOST_SECONDS)


class RedisCommands:
    """Listens for one worker.

    Args:
        connection: to Redis.
        revocations: of this worker.
        lockout: of this worker.
        target: its clients.
    """

    def __init__(
        self, connection: RedisConnection, revocations: Revocations, lockout: Lockout, target: CommandTarget
    ) -> None:
        self._connection = connection
        self._revocations, self._lockout, self._target = revocations, lockout, target
        self._version: object = self  # of what was read; none that Redis could have
        self._check_at = 0.0
        self._read = gevent.event.Event()
        self._warned: set[str] = set()
        self._greenlet: gevent.Greenlet[Any, Any] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._greenlet = gevent.spawn(supervise, "steering", self._run_listener)

    def stop(self) -> None:
        """End it."""
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
                    listener.get_message(timeout=CHECK_SECONDS)  # that it is subscribed: from now on nothing is missed
                    self._version, self._check_at = self, 0.0
                    while connection.generation == generation:
                        self._check_revocations()
                        message = listener.get_message(timeout=CHECK_SECONDS)
                        if message is not None:
                            self._on_message(message["data"])
            except (redis.RedisError, OSError) as error:
                if isinstance(error, redis.ResponseError):
                    self._warn_once("redis does not let this worker hear commands", error=str(error))
                self._check_revocations()  # in case that only this connection was lost
                gevent.sleep(RETRY_SECONDS)

    def _on_message(self, data: bytes) -> None:
        """Act on what was published. Whatever it is, the next one is heard too."""
        try:
            command = commands.read_command(data)
            if command is None:
                self._warn_once("a message on the channel of commands cannot be read", bytes=len(data))
            elif isinstance(command, AddressLocked):
                self._lockout.lock(command.address, command.seconds, time.monotonic())
            else:
                for answer in self._target.execute(command):
                    self._answer(answers_key(command.question), answer)
        except Exception:
            log.exception("a command failed")

    def _answer(self, key: str, answer: Answer) -> None:
        with self._connection.redis.pipeline(transaction=False) as pipe:
            pipe.rpush(key, commands.encode(answer))
            pipe.expire(key, ANSWER_SECONDS)
            self._connection.run("answers to commands", pipe)

    def _check_revocations(self) -> None:
        """Read revocations if they are others than those that were read last."""
        if time.monotonic() < self._check_at:
            return
        self._check_at = time.monotonic() + CHECK_SECONDS
        answer = self._connection.ask("reading revocations", lambda: (self._connection.redis.get(VERSION_KEY),))
        if answer is not None and answer[0] != self._version and self._read_revocations():
            self._version = answer[0]  # as it was before: what came meanwhile is read the next time

    def _read_revocations(self) -> bool:
        """Take in what Redis has, and add what it has lost; False if it went away meanwhile."""
        known, stored = self._revocations, Revocations()
        news = at = 0
        while at < REVOCATIONS_KEPT:
            # From the end: what is forgotten meanwhile goes at the beginning.
            page = functools.partial(self._connection.redis.zrevrange, REVOCATIONS_KEY, at, at + PAGE - 1)
            rows = self._connection.ask("reading revocations", page)
            if rows is None:
                return False
            now = time.time()
            for one in filter(None, map(words.read, rows)):
                stored.add(one, now)
                news += known.add(one, now)
            if len(rows) < PAGE:
                break
            at += PAGE
        if known.full:
            self._warn_once("there are more revocations than can be kept; some tokens that were revoked are accepted")
        if news:
            closed = self._target.close_revoked()
            log.info("revocations read", new=news, known=len(known), closed=closed)
        self._read.set()
        if self._write_back(stored):
            return True
        self._check_at = time.monotonic() + REFUSED_SECONDS
        return False

    def _write_back(self, stored: Revocations) -> bool:
        now, lost = time.time(), []
        for number, one in enumerate(self._revocations.known(now), 1):
            if stored.add(one, now):
                lost.append(one)
            if number % PAGE == 0:
                # sleep(0) would hardly let I/O run. Nothing is added meanwhile: only this greenlet does that.
                gevent.sleep(1e-6)
        for at in range(0, len(lost), PAGE):
            with self._connection.redis.pipeline(transaction=True) as pipe:
                store_revocations(pipe, lost[at : at + PAGE], now)
                if self._connection.run("writing revocations", pipe) is None:
                    return False
        if lost:
            log.warning("redis had lost revocations; they are written down again", revocations=len(lost))
        return True

    def _warn_once(self, text: str, **more: Any) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning(text, **more)
