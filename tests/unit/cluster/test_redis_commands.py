"""Revocations that a worker reads from Redis and compares.

The stand-in answers at once, so that only the worker's own pauses let other greenlets run. The real Redis is tested in
`tests/live`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocation, Revocations
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Answer, Command
from peatio_ws.cluster.redis_commands import RedisCommands
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import CANCELLED_KEY
from peatio_ws.cluster.stored_revocations import PAGE

MANY = 10 * PAGE


class Store:
    """A sorted set of revocations."""

    def __init__(self, rows: list[bytes], cancelled: list[bytes] | None = None) -> None:
        self.rows, self.cancelled = rows, cancelled or []

    def zrevrange(self, key: str, first: int, last: int) -> list[bytes]:
        return (self.cancelled if key == CANCELLED_KEY else self.rows)[first : last + 1]

    def pipeline(self, transaction: bool) -> Store:
        return self

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None: ...

    def zremrangebyscore(self, *_: object) -> None: ...

    def expire(self, *_: object) -> None: ...

    def set(self, *_: object, **__: object) -> None: ...

    def zadd(self, _key: str, rows: dict[bytes, float]) -> None:
        self.rows += rows

    def execute(self, raise_on_error: bool) -> list[Any]:
        return []


class EmptyWorker:
    def execute(self, command: Command) -> Iterator[Answer]:
        return iter(())

    def close_revoked(self) -> int:
        return 0


def revoked(number: int) -> Revocation:
    return Revocation(f"ID{number}", time.time() + 600, f"jti{number}")


def worker(store: Store, known: Revocations) -> RedisCommands:
    connection = RedisConnection("redis://127.0.0.1:1/0")
    connection.redis = store  # type: ignore[assignment]
    return RedisCommands(connection, known, Lockout(0), EmptyWorker())


def turns_during(work: Callable[[], Any]) -> int:
    """Return how often another greenlet ran meanwhile."""
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(1e-6)
            turns += 1

    other = gevent.spawn(count)
    try:
        gevent.sleep(1e-6)
        before = turns
        work()
        return turns - before
    finally:
        other.kill()


def test_comparing_many_revocations_lets_others_run() -> None:
    known = Revocations()
    store = Store([])
    for number in range(MANY):
        known.add(one := revoked(number), time.time())
        store.rows.append(commands.encode(one))
    assert turns_during(worker(store, known)._read_revocations) >= MANY // PAGE - 1
    assert len(store.rows) == MANY


def test_revocations_lost_by_redis_are_stored_again() -> None:
    known, kept = Revocations(), Store([])
    for number in range(PAGE + 2):
        known.add(one := revoked(number), time.time())
        if number % 2:
            kept.rows.append(commands.encode(one))
    new = revoked(MANY)
    kept.rows += [b"no revocation", commands.encode(new)]
    assert worker(kept, known)._read_revocations()
    assert len(known) == PAGE + 3, "the new revocation was not read"
    again = Revocations()
    worker(kept, again)._read_revocations()
    assert sorted(again.known(time.time()), key=str) == sorted(known.known(time.time()), key=str)


def test_cancelled_revocation_is_forgotten_and_not_stored_again() -> None:
    known, one = Revocations(), revoked(1)
    known.add(one, time.time())
    store = Store([], [commands.encode(one)])
    assert worker(store, known)._read_revocations()
    assert len(known) == 0
    assert store.rows == []
    # Another worker, which had not noticed, stored it again.
    store.rows.append(commands.encode(one))
    assert worker(store, known)._read_revocations()
    assert len(known) == 0
