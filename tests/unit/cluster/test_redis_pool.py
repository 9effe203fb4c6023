"""Pools of connections to Redis, without a server."""

from __future__ import annotations

from typing import Any

import redis

from peatio_ws.cluster.redis_pool import MOST_CONNECTIONS, Pool


class Connection(redis.Connection):
    """A connection that only counts."""

    made = ended = 0

    def connect(self) -> None:
        self.made += 1

    def disconnect(self, *_: Any, **__: Any) -> None:
        self.ended += 1

    def can_read(self, *_: Any, **__: Any) -> bool:
        return False


def test_dropped_connections_are_replaced_before_their_next_use() -> None:
    pool: Any = Pool(connection_class=Connection)
    first, second = pool.get_connection(), pool.get_connection()
    pool.release(first)
    pool.drop()
    assert (first.ended, second.ended) == (0, 0), "not while somebody uses them"
    assert pool.get_connection() is first
    assert first.ended == 1
    pool.release(first)
    assert pool.get_connection() is first
    assert first.ended == 1, "only once"
    pool.release(second)


def test_a_pool_waits_without_limit_for_one_of_its_connections() -> None:
    pool: Any = Pool(connection_class=Connection)
    assert (pool.max_connections, pool.timeout) == (MOST_CONNECTIONS, None)
    assert not pool.has_moved()
