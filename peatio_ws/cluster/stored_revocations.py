"""Revocations in Redis: how an operator and the workers store them, take them back and read them.

They are in the sorted set `peatio_ws:revocations`, scored by the time at which each can be forgotten. One that is taken
back moves to `peatio_ws:revocations:cancelled`, because a worker that missed this may store the revocation again. Every
change sets a new value in `peatio_ws:revocations:version`.
"""

from __future__ import annotations

import functools
import math
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation, Revocations, read
from peatio_ws.cluster import commands
from peatio_ws.cluster.redis_keys import CANCELLED_KEY, REVOCATIONS_KEY, VERSION_KEY

MOST_SECONDS: Final = 90 * 86_400
"""Longest life of a revocation. Redis deletes the whole set after this time without a new one."""
PAGE: Final = 500
"""Revocations that are read at once."""


def store(pipe: Any, revoked: list[Revocation], now: float) -> None:
    """Store revocations, and set a new version so that every worker notices."""
    _add(pipe, REVOCATIONS_KEY, revoked, now)


def cancel(pipe: Any, cancelled: list[Revocation], rows: list[bytes], now: float) -> None:
    """Take revocations back.

    Args:
        rows: what Redis has of them.
    """
    if rows:
        pipe.zrem(REVOCATIONS_KEY, *rows)
    _add(pipe, CANCELLED_KEY, cancelled, now)


def _add(pipe: Any, key: str, rows: list[Revocation], now: float) -> None:
    pipe.zremrangebyscore(key, 0, now)
    pipe.zadd(key, {commands.encode(one): one.until for one in rows})
    pipe.expire(key, MOST_SECONDS)
    pipe.set(VERSION_KEY, uuid.uuid4().hex, ex=MOST_SECONDS)


def pages(redis: Any, key: str, ask: Callable[[Callable[[], Any]], Any]) -> Iterator[list[bytes]]:
    """Yield the rows of a set in pages.

    Args:
        ask: makes a request, and returns its answer; None ends the reading.
    """
    for at in range(0, REVOCATIONS_KEPT, PAGE):
        # From the end, because entries that expire meanwhile are removed at the beginning.
        rows = ask(functools.partial(redis.zrevrange, key, at, at + PAGE - 1))
        if rows is None:
            return
        yield rows
        if len(rows) < PAGE:
            return


def read_all(redis: Any, leeway: float = 0.0) -> tuple[Revocations, list[bytes]]:
    """Return the revocations in force, and all rows. Raises the errors of redis-py.

    Args:
        leeway: see `Revocations`.
    """
    found, every, now = Revocations(leeway), list[bytes](), time.time()
    for rows in pages(redis, CANCELLED_KEY, _at_once):
        for one in filter(None, map(read, rows)):
            found.cancel(one, now)
    for rows in pages(redis, REVOCATIONS_KEY, _at_once):
        every += rows
        for one in filter(None, map(read, rows)):
            found.add(one, now)
    return found, every


def first_after_undo(redis: Any, uid: str, jti: str | None) -> float:
    """Return the first `Revocation.issued` that is later than each revocation of these tokens that was taken back; 0 if
    none was. It is in the future if the clock of the host that revoked them was ahead. Raises the errors of redis-py.
    """
    rows = (row for page in pages(redis, CANCELLED_KEY, _at_once) for row in page)
    undone = [one.issued for one in map(read, rows) if one is not None and (one.uid, one.jti) == (uid, jti)]
    return math.nextafter(max(undone), math.inf) if undone else 0.0


def _at_once(request: Callable[[], Any]) -> Any:
    return request()
