"""Members' numeric ids in Redis: the hash `peatio:members`, uid to member id.

One greenlet per worker looks up the ids of authenticating members, several with one HMGET, so that a rush of logins
queues up instead of exhausting the connections. A lookup stays queued until Redis answers, however long that takes. A
session waits for up to `REDIS_TIMEOUT`, and is notified later.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Any, Final

import gevent
import gevent.event
import structlog

from peatio_ws.auth.identity import member_id_of
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.cluster.redis_connection import REDIS_TIMEOUT, RedisConnection
from peatio_ws.cluster.redis_keys import MEMBERS_KEY
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.concurrency.yielding import SHORTEST_SLEEP

log = structlog.get_logger("peatio_ws.cluster.redis_member_ids")

MEMBERS_KEPT: Final = 50_000
BATCH: Final = 200
"""Members per HMGET: a few milliseconds of a worker's time, the handling of the answers included."""
UNREACHABLE_SECONDS: Final = 0.5
REFUSED_SECONDS: Final = 2.0
"""Time between two attempts while Redis is unreachable, and while it refuses and no new lookup arrives."""


class RedisMemberIds:
    """The lookups of one worker.

    Args:
        connection: to Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._unanswered: dict[str, list[MemberIdLookup]] = {}  # by uid, in order of arrival
        self._wanted = gevent.event.Event()
        self._known: dict[str, int] = {}  # last answers, for clients that return while Redis is unreachable
        self._greenlet: gevent.Greenlet[Any, Any] | None = None

    def start(self) -> None:
        """Start the lookups."""
        self._greenlet = gevent.spawn(supervise, "member ids", self._run_lookups)

    def stop(self) -> None:
        """Stop the lookups."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def look_up(self, uid: str) -> MemberIdLookup:
        """See `SharedState.look_up`."""
        lookup = MemberIdLookup(uid)
        self._unanswered.setdefault(uid, []).append(lookup)
        self._wanted.set()
        if not self._connection.unreachable:
            try:
                lookup.wait(REDIS_TIMEOUT)
            except BaseException:
                self.forget(lookup)
                raise
        if not lookup.known and uid in self._known:
            self.forget(lookup)
            lookup.answer(self._known[uid])
        return lookup

    def forget(self, lookup: MemberIdLookup) -> None:
        """See `SharedState.forget_lookup`."""
        lookups = self._unanswered.get(lookup.uid)
        if lookups is not None and lookup in lookups:
            lookups.remove(lookup)
            if not lookups:
                del self._unanswered[lookup.uid]

    def _run_lookups(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            while self._unanswered:
                if self._look_up_batch():
                    gevent.sleep(SHORTEST_SLEEP)
                    continue
                for lookup in itertools.chain.from_iterable(self._unanswered.values()):
                    lookup.stop_waiting()
                if self._connection.unreachable:
                    gevent.sleep(UNREACHABLE_SECONDS)
                else:
                    self._wanted.wait(REFUSED_SECONDS)
                    self._wanted.clear()

    def _look_up_batch(self) -> bool:
        """Look up a batch of members. Return whether Redis answered."""
        uids = list(itertools.islice(self._unanswered, BATCH))
        question = functools.partial(self._connection.redis.hmget, MEMBERS_KEY, uids)
        values = self._connection.ask("member ids", question)
        if values is None:
            return False
        for uid, value in zip(uids, values, strict=True):
            number = member_id_of(value.decode(errors="replace")) if isinstance(value, bytes) else None
            self._cache(uid, number)
            for lookup in self._unanswered.pop(uid, ()):
                try:
                    lookup.answer(number)
                except Exception:  # a bug affects this session only
                    log.exception("member id could not be used", uid=uid)
        return True

    def _cache(self, uid: str, number: int | None) -> None:
        with contextlib.suppress(KeyError):
            del self._known[uid]
        if number is not None:
            self._known[uid] = number
            if len(self._known) > MEMBERS_KEPT:
                del self._known[next(iter(self._known))]
