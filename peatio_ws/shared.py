"""What workers share: Redis where there is one, else what this process knows.

How many connections a member or an address has (sorted sets `peatio_ws:connections:…`, whose entries expire), member
ids (hash `peatio:members`, uid to member id), and each order as last seen (stream `peatio_ws:orders`, bounded and
expiring), so that a trade which names its orders by id can be completed by a worker that started a moment ago. Redis
away is no reason to stop: the log says it once, clients notice nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
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

log = structlog.get_logger("peatio_ws.shared")

ORDERS_KEPT: Final = 20_000
ORDERS_SECONDS: Final = 86_400
"""How long Redis keeps orders when nobody writes any more."""
MEMBERS_KEY: Final = "peatio:members"
ORDERS_KEY: Final = "peatio_ws:orders"
WRITER_KEY: Final = "peatio_ws:orders:writer"
SEATS_KEY: Final = "peatio_ws:connections:"
SEAT_SECONDS: Final = 90
"""How long a connection counts after its worker was heard of last."""
FLUSH_SECONDS: Final = 0.1
LEASE_SECONDS: Final = 5
"""One worker writes orders to Redis at a time; if it dies, another takes over after at most this."""
REDIS_TIMEOUT: Final = 1.0
"""Seconds a client's authentication waits for Redis at most."""


class Seat:
    """A connection that counts towards a limit across workers.

    Args:
        name: what is counted, for example `member:ID1234567890`.
        limit: how many there may be.
        excess: called, from a background greenlet, if there are more.
    """

    __slots__ = ("excess", "id", "limit", "name")

    def __init__(self, name: str, limit: int, excess: Callable[[], None]) -> None:
        self.name, self.limit, self.excess = name, limit, excess
        self.id = uuid.uuid4().hex


class Orders:
    """Orders as last seen: at most `ORDERS_KEPT`, the oldest forgotten first."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[Owner, Order | bytes]] = {}

    def remember(self, order: Order) -> None:
        """Keep this state of the order instead of an earlier one."""
        self._put(order.id.strip(b'"'), (order.owner, order))

    def remember_older(self, order_id: bytes, owner: Owner, classic: bytes) -> None:
        """Keep what another worker saw, unless this one has seen the order itself."""
        if order_id not in self._seen:
            self._put(order_id, (owner, classic))

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """The order as classic JSON; None if it was not seen, or seen as somebody else's."""
        seen = self._seen.get(order_id.strip(b'"'))
        if seen is None:
            return None
        seen_owner, order = seen
        if type(seen_owner) is type(owner) and seen_owner != owner:
            return None
        return dialects.classic_order(order) if isinstance(order, Order) else order

    def _put(self, key: bytes, value: tuple[Owner, Order | bytes]) -> None:
        self._seen.pop(key, None)
        self._seen[key] = value
        if len(self._seen) > ORDERS_KEPT:
            del self._seen[next(iter(self._seen))]


class Shared:
    """Without Redis: each worker for itself."""

    def __init__(self) -> None:
        self.orders = Orders()

    def start(self) -> None:
        """Begin what runs in the background."""

    def stop(self) -> None:
        """End it."""

    def remember(self, order: Order) -> None:
        """Keep an order for `recall`, here and for other workers."""
        self.orders.remember(order)

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """See `Orders.recall`. Never waits."""
        return self.orders.recall(order_id, owner)

    def load(self) -> None:
        """Fetch what other workers have seen; called when the worker begins to hear the broker."""

    def take_seat(self, seat: Seat) -> None:
        """Count a connection; if it is one too many across workers, `seat.excess` is called soon. Never waits."""

    def leave_seat(self, seat: Seat) -> None:
        """Count it no more. Never waits."""

    def member_id(self, uid: str) -> int | None:  # noqa: ARG002  # nobody to ask
        """A member's numeric id, if anybody knows it. May wait, for `REDIS_TIMEOUT` at most."""
        return None


class RedisShared(Shared):
    """With Redis.

    Args:
        url: `REDIS_URL`.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
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
        self._away_until = 0.0
        self._away_since: float | None = None
        self._load_wanted = False
        self._seats: dict[str, Seat] = {}
        self._new_seats: list[Seat] = []
        self._left_seats: list[Seat] = []
        self._refresh_at = 0.0
        self._greenlet: gevent.Greenlet[Any, Any] | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._write_on)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._write_pending()
            self._left_seats += self._seats.values()
            self._count_seats()

    def remember(self, order: Order) -> None:
        self.orders.remember(order)
        key = order.id.strip(b'"')
        self._pending.pop(key, None)
        self._pending[key] = (time.monotonic(), order)

    def take_seat(self, seat: Seat) -> None:
        self._seats[seat.id] = seat
        self._new_seats.append(seat)

    def leave_seat(self, seat: Seat) -> None:
        if self._seats.pop(seat.id, None) is not None:
            self._left_seats.append(seat)

    def load(self) -> None:
        self._load_wanted = True  # by the background greenlet, which tries until Redis answers

    def member_id(self, uid: str) -> int | None:
        if time.monotonic() < self._away_until:
            return None
        value = self._ask(lambda: self._redis.hget(MEMBERS_KEY, uid))
        return member_id_of(value.decode(errors="replace")) if isinstance(value, bytes) else None

    def _ask(self, question: Any) -> Any:
        """The answer; None while Redis is away, which is said once, as is its return."""
        try:
            answer = question()
        except (redis.RedisError, OSError) as error:
            self._away_until = time.monotonic() + REDIS_TIMEOUT
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
                if self._load_wanted:
                    self._load()
                self._count_seats()
                self._write_pending()
            except Exception:  # a bug here must not end the greenlet in silence
                log.exception("orders could not be shared")

    def _count_seats(self) -> None:
        """Enter who came, strike out who left, and now and then say that the others are still there."""
        now, mono = time.time(), time.monotonic()
        left, self._left_seats = self._left_seats, []
        new, self._new_seats = [seat for seat in self._new_seats if seat.id in self._seats], []
        staying: list[Seat] = []
        if mono >= self._refresh_at:
            self._refresh_at = mono + SEAT_SECONDS / 3
            staying = [seat for seat in self._seats.values() if seat not in new]
        if not (left or new or staying):
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for seat in left:
                pipe.zrem(SEATS_KEY + seat.name, seat.id)
            for seat in staying:
                pipe.zadd(SEATS_KEY + seat.name, {seat.id: now + SEAT_SECONDS})
                pipe.expire(SEATS_KEY + seat.name, SEAT_SECONDS)
            for seat in new:
                pipe.zremrangebyscore(SEATS_KEY + seat.name, 0, now)
                pipe.zadd(SEATS_KEY + seat.name, {seat.id: now + SEAT_SECONDS})
                pipe.expire(SEATS_KEY + seat.name, SEAT_SECONDS)
                pipe.zcard(SEATS_KEY + seat.name)
            answers = self._ask(pipe.execute)
        if answers is None:
            self._left_seats, self._new_seats = left + self._left_seats, new + self._new_seats
            self._refresh_at = 0.0
            return
        for seat, count in zip(new, answers[len(answers) - 4 * len(new) + 3 :: 4], strict=True):
            if count > seat.limit:
                self.leave_seat(seat)
                seat.excess()

    def _load(self) -> None:
        rows = self._ask(lambda: self._redis.xrevrange(ORDERS_KEY, count=ORDERS_KEPT))
        if rows is None:
            return
        self._load_wanted = False
        newest: dict[bytes, tuple[Owner, msgspec.Raw]] = {}
        for _, fields in rows:
            for order_id, value in fields.items():
                owner, classic = msgspec.json.decode(value, type=tuple[str | int, msgspec.Raw])
                newest.setdefault(order_id, (owner, classic))
        for order_id, (owner, classic) in reversed(newest.items()):
            self.orders.remember_older(order_id, owner, bytes(classic))
        log.info("orders loaded", orders=len(newest))

    def _write_pending(self) -> None:
        now = time.monotonic()
        if not self._pending:
            return
        if not self._holds_lease():
            # Another worker writes; what it could not have written if it died is kept until the lease has passed over.
            for key in [key for key, (at, _) in self._pending.items() if now - at > 2 * LEASE_SECONDS]:
                del self._pending[key]
            return
        pending, self._pending = self._pending, {}
        with self._redis.pipeline(transaction=False) as pipe:
            for key, (_, order) in pending.items():
                value = msgspec.json.encode((order.owner, msgspec.Raw(dialects.classic_order(order))))
                pipe.xadd(ORDERS_KEY, {key: value}, maxlen=ORDERS_KEPT, approximate=True)
            pipe.expire(ORDERS_KEY, ORDERS_SECONDS)
            if self._ask(pipe.execute) is None:
                self._pending = pending | self._pending

    def _holds_lease(self) -> bool:
        seconds = LEASE_SECONDS * 1000
        taken = self._ask(
            lambda: self._redis.set(WRITER_KEY, self._id, nx=True, px=seconds, get=True) or self._id.encode()
        )
        if taken != self._id.encode():
            return False
        return bool(self._ask(lambda: self._redis.pexpire(WRITER_KEY, seconds)))


def open_shared(redis_url: str | None) -> Shared:
    """What workers share according to `REDIS_URL`."""
    if redis_url is None:
        log.info("no REDIS_URL: what workers would share stays in each worker")
        return Shared()
    return RedisShared(redis_url)
