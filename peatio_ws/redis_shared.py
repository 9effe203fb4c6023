"""What workers share through Redis.

Member ids (hash `peatio:members`, uid to member id), and each order as last seen (stream `peatio_ws:orders`, bounded
and expiring), so that a trade which names its orders by id can be completed by a worker that started a moment ago.
Order books are `redis_books.py`'s, limits `redis_limits.py`'s, what an operator says `redis_steering.py`'s. Redis away
is no reason to stop: the log says it once, clients notice nothing.
"""

from __future__ import annotations

import functools
import itertools
import time
import uuid
from typing import Any, Final

import gevent
import msgspec
import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from peatio_ws import dialects
from peatio_ws.auth import member_id_of
from peatio_ws.events import Order, Owner
from peatio_ws.failures import Failures
from peatio_ws.redis_books import RedisBooks
from peatio_ws.redis_limits import RedisLimits
from peatio_ws.redis_steering import RedisSteering
from peatio_ws.revocations import Revocations
from peatio_ws.shared import ORDERS_KEPT, Books, Seat, Shared, Steered

log = structlog.get_logger("peatio_ws.redis_shared")

ORDERS_SECONDS: Final = 86_400
"""How long Redis keeps orders when nobody writes any more."""
MEMBERS_KEPT: Final = 50_000
MEMBERS_KEY: Final = "peatio:members"
ORDERS_KEY: Final = "peatio_ws:orders"
WRITER_KEY: Final = "peatio_ws:orders:writer"
FLUSH_SECONDS: Final = 0.1
PIECE: Final = 200
"""Orders that Redis is told or asked of at a time: all of them at once would hold up everybody's events."""
LEASE_SECONDS: Final = 5
"""One worker writes orders to Redis at a time; if it dies, another takes over after at most this."""
REDIS_TIMEOUT: Final = 1.0
"""Seconds a client's authentication waits for Redis at most."""

_row = msgspec.json.Decoder(tuple[str | int, msgspec.Raw])


class RedisShared(Shared):
    """With Redis.

    Args:
        url: `REDIS_URL`.
    """

    def __init__(self, url: str, revocations: Revocations, failures: Failures) -> None:
        super().__init__(revocations, failures)
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=16,
            timeout=REDIS_TIMEOUT,
            socket_timeout=REDIS_TIMEOUT,
            socket_connect_timeout=REDIS_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            client_name="peatio_ws",
        )
        self._redis = redis.Redis(connection_pool=pool)
        self._id = uuid.uuid4().hex
        self._pending: dict[bytes, tuple[float, Order]] = {}
        self._member_ids: dict[str, int] = {}  # as last told
        self._away_since: float | None = None
        self._asked = False  # so that it is known whether it is there
        self._load_wanted = False
        self._limits = RedisLimits(self._redis, self._ask, failures)
        self._greenlet: gevent.Greenlet[Any, Any] | None = None
        self._books: RedisBooks | None = None
        self._steering: RedisSteering | None = None

    @property
    def connected(self) -> bool:
        return self._asked and self._away_since is None

    def start(self, books: Books, steered: Steered) -> None:
        self._greenlet = gevent.spawn(self._write_on)
        self._books = RedisBooks(self._redis, self._ask, books)
        self._books.start()
        self._steering = RedisSteering(self._redis, self._ask, self.revocations, self.failures, steered)
        self._steering.start()

    def wait(self) -> None:
        if self._steering is not None:
            self._steering.wait()

    def stop(self) -> None:
        for part in (self._steering, self._books):
            if part is not None:
                part.stop()
        if self._greenlet is not None:
            self._greenlet.kill()
            self._write_pending()
            self._limits.leave_all()

    def remember(self, order: Order) -> None:
        self.orders.remember(order)
        key = order.id.strip(b'"')
        self._pending.pop(key, None)
        self._pending[key] = (time.monotonic(), order)

    def ask_books(self) -> None:
        if self._books is not None:
            self._books.want()

    def forget_book(self, name: str) -> None:
        if self._books is not None:
            self._books.forget(name)

    def take_seat(self, seat: Seat) -> None:
        self._limits.take(seat)

    def leave_seat(self, seat: Seat) -> None:
        self._limits.leave(seat)

    def load(self) -> None:
        self._load_wanted = True  # by the background greenlet, which tries until Redis answers

    def member_id(self, uid: str) -> int | None:
        value = None
        if self._away_since is None:  # else nobody waits: what runs in the background finds out when it is back
            value = self._ask(lambda: self._redis.hget(MEMBERS_KEY, uid))
        if not isinstance(value, bytes):
            # Away? Without it, who comes back would miss what names a member by number.
            return self._member_ids.get(uid) if self._away_since is not None else None
        found = member_id_of(value.decode(errors="replace"))
        if found is not None:
            self._member_ids.pop(uid, None)
            self._member_ids[uid] = found
            if len(self._member_ids) > MEMBERS_KEPT:
                del self._member_ids[next(iter(self._member_ids))]
        return found

    def _ask(self, question: Any) -> Any:
        """The answer; None while Redis is away, which is said once, as is its return."""
        self._asked = True
        try:
            answer = question()
        except (redis.RedisError, OSError) as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                log.warning("redis is not to be reached; going on without what workers share", error=str(error))
            return None
        if self._away_since is not None:
            log.info("redis is back", seconds_away=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
        return answer

    def _write_on(self) -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            try:
                self._share()
            except Exception:  # a bug here must not end the greenlet in silence
                log.exception("orders and counts could not be shared")

    def _share(self) -> None:
        self._limits.count()  # first, whatever becomes of the orders
        if self._load_wanted:
            self._load()
        self._write_pending()

    def _load(self) -> None:
        newest: dict[bytes, tuple[Owner, msgspec.Raw]] = {}
        read, before, unreadable = 0, b"+", 0
        while read < ORDERS_KEPT:
            rows = self._ask(functools.partial(self._redis.xrevrange, ORDERS_KEY, before, count=PIECE))
            if rows is None:
                return
            for _, fields in rows:
                for order_id, value in fields.items():
                    try:
                        owner, classic = _row.decode(value)
                    except (msgspec.MsgspecError, UnicodeDecodeError):
                        unreadable += 1
                        continue
                    newest.setdefault(order_id, (owner, classic))
            if len(rows) < PIECE:
                break
            read, before = read + len(rows), b"(" + rows[-1][0]
        self._load_wanted = False
        for order_id, (owner, classic) in reversed(newest.items()):
            self.orders.remember_older(order_id, owner, bytes(classic))
        log.info("orders loaded", orders=len(newest), unreadable=unreadable)

    def _write_pending(self) -> None:
        now = time.monotonic()
        if not self._pending:
            return
        if not self._holds_lease():
            # Another worker writes; what it could not have written if it died is kept until the lease has passed over.
            for key in [key for key, (at, _) in self._pending.items() if now - at > 2 * LEASE_SECONDS]:
                del self._pending[key]
            return
        while some := list(itertools.islice(self._pending.items(), PIECE)):
            with self._redis.pipeline(transaction=False) as pipe:
                for key, (_, order) in some:
                    value = msgspec.json.encode((order.owner, msgspec.Raw(dialects.classic_order(order))))
                    pipe.xadd(ORDERS_KEY, {key: value}, maxlen=ORDERS_KEPT, approximate=True)
                pipe.expire(ORDERS_KEY, ORDERS_SECONDS)
                if self._ask(pipe.execute) is None:
                    return
            for key, written in some:
                if self._pending.get(key) is written:  # else it has changed meanwhile
                    del self._pending[key]

    def _holds_lease(self) -> bool:
        seconds = LEASE_SECONDS * 1000
        taken = self._ask(
            lambda: self._redis.set(WRITER_KEY, self._id, nx=True, px=seconds, get=True) or self._id.encode()
        )
        if taken != self._id.encode():
            return False
        return bool(self._ask(lambda: self._redis.pexpire(WRITER_KEY, seconds)))


def open_shared(redis_url: str | None, revocations: Revocations, failures: Failures) -> Shared:
    """What workers share according to `REDIS_URL`."""
    if redis_url is None:
        log.info("no REDIS_URL: what workers would share stays in each worker")
        return Shared(revocations, failures)
    return RedisShared(redis_url, revocations, failures)
