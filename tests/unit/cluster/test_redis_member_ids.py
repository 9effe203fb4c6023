"""Member id lookups, in batches and until they are answered, with a stand-in for Redis.

The real Redis is tested in `tests/live/test_shared_state.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
import redis

from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_member_ids import BATCH, RedisMemberIds


class Store:
    """Returns each member's number, or raises an error."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.batches: list[int] = []

    def hmget(self, _key: str, uids: list[str]) -> list[bytes]:
        if self.error is not None:
            raise self.error
        self.batches.append(len(uids))
        return [uid.removeprefix("ID").encode() for uid in uids]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def members(store: Store) -> Iterator[RedisMemberIds]:
    connection = RedisConnection("redis://127.0.0.1:1/0")
    connection.redis = store  # type: ignore[assignment]
    found = RedisMemberIds(connection)
    yield found
    found.stop()


def test_many_lookups_run_in_batches(members: RedisMemberIds, store: Store) -> None:
    asking = [gevent.spawn(members.look_up, f"ID{number}") for number in range(2 * BATCH + 1)]
    gevent.sleep(0)
    members.start()
    gevent.joinall(asking, timeout=20)
    assert [one.value.number for one in asking] == list(range(2 * BATCH + 1))
    assert store.batches == [BATCH, BATCH, 1]


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), redis.ResponseError("WRONGTYPE of another kind")])
def test_lookups_time_out_and_are_answered_later(members: RedisMemberIds, store: Store, error: Exception) -> None:
    store.error = error
    members.start()
    answers: list[int | None] = []
    lookup, left = members.look_up("ID7"), members.look_up("ID8")
    assert not lookup.known
    lookup.on_answer = answers.append
    members.forget(left)
    store.error = None
    with gevent.Timeout(20):
        while not answers:
            gevent.sleep(0.01)
    assert answers == [7]
    assert sum(store.batches) == 1, "the member id of a disconnected client was looked up"


def test_failing_lookup_does_not_affect_others(members: RedisMemberIds, store: Store) -> None:
    def fail(_number: int | None) -> None:
        raise RuntimeError

    store.error = redis.ConnectionError("gone")
    members.start()
    lookups: list[MemberIdLookup] = [members.look_up(f"ID{number}") for number in range(3)]
    answers: list[Any] = []
    lookups[0].on_answer, lookups[1].on_answer, lookups[2].on_answer = answers.append, fail, answers.append
    store.error = None
    with gevent.Timeout(20):
        while len(answers) < 2:
            gevent.sleep(0.01)
    assert answers == [0, 2]
