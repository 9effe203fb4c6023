"""Orders that a worker loads from Redis, with a stand-in that answers at once.

The real Redis is tested in `tests/live`.
"""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from typing import Any

import gevent
import pytest

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.redis_state import RedisSharedState

NOWHERE = "redis://127.0.0.1:1/0"


class Store:
    """The orders and counters of Redis that are needed here."""

    def __init__(self, rows: list[Any] | None = None) -> None:
        self.rows = rows
        self.counts = Counter[str]()

    def xrevrange(self, _key: str, _before: bytes, count: int) -> Any:
        if self.rows is None:
            raise RuntimeError("an unexpected error")
        assert len(self.rows) < count
        return self.rows

    def pipeline(self, transaction: bool) -> Pipe:
        return Pipe(self)

    def info(self, _section: str) -> dict[str, Any]:
        return {"redis_version": "7.0.15"}

    def set(self, _key: str, _value: bytes, px: int) -> bool:
        return True


class Pipe:
    def __init__(self, store: Store) -> None:
        self._store, self._answers = store, list[Any]()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None: ...

    def incrby(self, key: str, count: int) -> None:
        self._store.counts[key] += count
        self._answers.append(self._store.counts[key])

    def set(self, _key: str, _value: int, ex: int, nx: bool) -> None:
        self._answers.append(nx)

    def pttl(self, _key: str) -> None:
        self._answers.append(30_000)

    def execute(self, raise_on_error: bool) -> list[Any]:
        return self._answers


def worker(store: Store, lockout: Lockout) -> RedisSharedState:
    shared = RedisSharedState(NOWHERE, Revocations(), lockout)
    shared._connection.redis = store  # type: ignore[assignment]
    return shared


def recalled(shared: RedisSharedState, order_id: bytes) -> Any:
    seen = shared.recall(order_id, "A")
    return None if seen is None else json.loads(seen)


@pytest.mark.parametrize("bad", [b"", b"\xff", b"{}", b'["A"]', b"[null,{}]", b'["A",{]', b'["A",{}'])
def test_unreadable_order_does_not_affect_others(bad: bytes) -> None:
    rows = [(b"3-0", {b"3": b'["A",{"id":3}]'}), (b"2-0", {b"2": bad}), (b"1-0", {b"1": b'["A",{"id":1}]'})]
    shared = worker(Store(rows), Lockout(0))
    shared.load()
    shared._exchange()
    assert [recalled(shared, number) for number in (b"1", b"2", b"3")] == [{"id": 1}, None, {"id": 3}]
    assert not shared._load_wanted


def test_failing_load_of_orders_does_not_delay_the_limits() -> None:
    store, lockout = Store(), Lockout(3)
    shared = worker(store, lockout)
    shared.load()
    lockout.add("203.0.113.7", time.monotonic())
    with pytest.raises(RuntimeError):
        shared._exchange()
    assert store.counts == {"peatio_ws:failures:203.0.113.7": 1}


class Lease(Pipe):
    """A pipeline of a Redis that has one key."""

    def set(self, _key: str, value: Any, nx: bool, px: int) -> None:  # type: ignore[override]
        self._store.rows = self._store.rows or [value.encode()]
        self._answers.append(None)

    def get(self, _key: str) -> None:
        assert self._store.rows is not None
        self._answers.append(self._store.rows[0])


def test_one_of_the_workers_that_a_master_made_writes_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gunicorn's `preload_app` the master makes this object, and each worker starts a copy of it."""
    store = Store([])
    monkeypatch.setattr(store, "pipeline", lambda transaction: Lease(store))
    monkeypatch.setattr(store, "pexpire", lambda _key, _milliseconds: 1, raising=False)
    monkeypatch.setattr(gevent, "spawn", lambda *_: None)
    of_master = worker(store, Lockout(0))
    workers = [copy.copy(of_master) for _ in range(3)]
    for one in workers:
        one.start(None, None)  # type: ignore[arg-type]
    assert [one._holds_lease() for one in (*workers, *workers)] == [True, False, False, True, False, False]
