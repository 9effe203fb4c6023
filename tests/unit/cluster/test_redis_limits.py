"""Connections and failed tokens that workers count together, with a stand-in for Redis that answers at once.

The real Redis is tested in `tests/live/test_shared_state.py`.
"""

from __future__ import annotations

import json
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from peatio_ws.auth.lockout import Lockout
from peatio_ws.cluster.local_state import ConnectionSlot
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_limits import BATCH, RedisLimits

LIMIT = 3
ADDRESS = "203.0.113.7"


class Store:
    """The sorted sets and counters of Redis that are needed here.

    Attributes:
        reachable: if False, every pipeline fails.
        batches: number of commands of each pipeline.
        published: published messages.
    """

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, float]] = defaultdict(dict)
        self.counts = Counter[str]()
        self.seconds_left = 30
        self.reachable = True
        self.batches: list[int] = []
        self.published: list[Any] = []

    def pipeline(self, transaction: bool) -> Pipe:
        assert not transaction
        return Pipe(self)

    def publish(self, _channel: str, message: bytes) -> int:
        self.published.append(json.loads(message))
        return 1

    def info(self, _section: str) -> dict[str, Any]:
        return {"redis_version": "7.0.15"}


class Pipe:
    def __init__(self, store: Store) -> None:
        self._store, self._commands = store, list[Callable[[], Any]]()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None: ...

    def zadd(self, key: str, rows: dict[str, float]) -> None:
        self._commands.append(lambda: self._store.sets[key].update(rows))

    def zrem(self, key: str, row: str) -> None:
        self._commands.append(lambda: self._store.sets[key].pop(row, None))

    def zcard(self, key: str) -> None:
        self._commands.append(lambda: len(self._store.sets[key]))

    def zremrangebyscore(self, key: str, _least: float, most: float) -> None:
        rows = self._store.sets
        self._commands.append(lambda: rows.update({key: {k: v for k, v in rows[key].items() if v > most}}))

    def expire(self, _key: str, _seconds: int) -> None:
        self._commands.append(lambda: True)

    def set(self, _key: str, _value: int, ex: int, nx: bool) -> None:
        self._commands.append(lambda: nx and ex > 0)

    def incrby(self, key: str, count: int) -> None:
        def add() -> int:
            self._store.counts[key] += count
            return self._store.counts[key]

        self._commands.append(add)

    def pttl(self, _key: str) -> None:
        self._commands.append(lambda: self._store.seconds_left * 1000)

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        if not self._store.reachable:
            raise redis.ConnectionError
        self._store.batches.append(len(self._commands))
        return [command() for command in self._commands]


@pytest.fixture
def store() -> Store:
    return Store()


def worker(store: Store, lockout: Lockout | None = None) -> RedisLimits:
    connection = RedisConnection("redis://127.0.0.1:1/0")
    connection.redis = store  # type: ignore[assignment]
    return RedisLimits(connection, lockout or Lockout(0))


def slot(limit: int = 10, on_excess: Callable[[], None] = lambda: None) -> ConnectionSlot:
    return ConnectionSlot("member:IDANN", limit, on_excess)


def members(store: Store) -> int:
    return len(store.sets["peatio_ws:connections:member:IDANN"])


# ---- connections


def test_connections_of_all_workers_count_towards_a_limit(store: Store) -> None:
    closed: list[str] = []
    workers = [worker(store) for _ in range(3)]
    for number, one in enumerate(workers):
        one.claim(slot(2, lambda number=number: closed.append(f"connection {number}")))  # type: ignore[misc]
        one.count()
    assert closed == ["connection 2"]
    workers[2].count()
    assert members(store) == 2, "the refused connection's slot was not released"


def test_a_released_connection_makes_room_for_another(store: Store) -> None:
    closed: list[bool] = []
    limits, first = worker(store), slot(1)
    limits.claim(first)
    limits.count()
    limits.release(first)
    limits.claim(slot(1, lambda: closed.append(True)))
    limits.count()
    assert (members(store), closed) == (1, [])
    limits.release_all()
    assert members(store) == 0


def test_connections_are_renewed_before_they_expire(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    kept, lost = worker(store), worker(store)
    for one in (kept, lost):
        one.claim(slot())
        one.count()
    for _ in range(8):
        now[0] += 31
        kept.count()  # as if the other worker had been killed
    kept.claim(slot())
    kept.count()
    assert members(store) == 2


def test_many_connections_are_written_in_batches(store: Store) -> None:
    limits = worker(store)
    for _ in range(2 * BATCH + 5):
        limits.claim(slot(10_000))
    limits.count()
    assert members(store) == 2 * BATCH + 5
    assert max(store.batches) == 4 * BATCH, "a connection takes four commands"


def test_connections_that_ended_during_a_redis_outage_are_forgotten(store: Store) -> None:
    class Connection:
        def hang_up(self) -> None: ...

    store.reachable = False
    limits = worker(store)
    left: list[weakref.ref[Connection]] = []
    for _ in range(100):
        connection = Connection()
        left.append(weakref.ref(connection))
        ended = slot(10, connection.hang_up)
        limits.claim(ended)
        limits.release(ended)
    stays = slot(10, connection.hang_up)
    limits.claim(stays)
    limits._count_slots()
    assert limits._new == [stays]
    assert not limits._left
    assert sum(one() is not None for one in left) == 1
    store.reachable = True
    limits.count()
    assert members(store) == 1


# ---- failed tokens


def test_failures_are_reported_in_batches(store: Store) -> None:
    lockout = Lockout(LIMIT)
    limits = worker(store, lockout)
    for number in range(2 * BATCH + 5):
        lockout.add(f"address {number}", time.monotonic())
    limits.count()
    assert store.batches == [3 * BATCH, 3 * BATCH, 15], "an address takes three commands"
    assert len(store.counts) == 2 * BATCH + 5
    limits.count()
    assert len(store.batches) == 3, "failures were reported again"


def test_failures_at_several_workers_lock_an_address_everywhere(store: Store) -> None:
    lockouts = [Lockout(LIMIT) for _ in range(LIMIT)]
    for lockout in lockouts:
        lockout.add(ADDRESS, time.monotonic())
        worker(store, lockout).count()
    assert lockouts[-1].seconds_left(ADDRESS, time.monotonic()) > 0
    assert store.published == [{"do": "limited", "address": ADDRESS, "seconds": 30.0}]


def test_lockout_by_a_failure_during_a_report_is_logged_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lockout, other = Lockout(LIMIT), Lockout(LIMIT)
    limits = worker(store, lockout)
    other.add(ADDRESS, time.monotonic())
    worker(store, other).count()
    lockout.add(ADDRESS, time.monotonic())
    added = [lambda: lockout.add(ADDRESS, time.monotonic())]
    pttl = Pipe.pttl

    def pttl_while_another_fails(pipe: Pipe, key: str) -> None:
        pttl(pipe, key)
        if added:
            added.pop()()

    monkeypatch.setattr(Pipe, "pttl", pttl_while_another_fails)
    with capture_logs() as lines:
        limits.count()
        limits.count()
    assert [line["address"] for line in lines if line["log_level"] == "warning"] == [ADDRESS]
    assert len(store.published) == 1


def test_failures_are_kept_while_redis_is_unreachable(store: Store) -> None:
    lockout = Lockout(LIMIT)
    limits = worker(store, lockout)
    lockout.add(ADDRESS, time.monotonic())
    store.reachable = False
    limits.count()
    assert not store.counts
    store.reachable = True
    limits.count()
    assert store.counts == {f"peatio_ws:failures:{ADDRESS}": 1}
