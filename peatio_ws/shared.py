"""What workers share: Redis where there is one, else what this process knows.

Member ids (Redis hash `peatio:members`, uid to member id), and each order as last seen (Redis stream
`peatio_ws:orders`, bounded and expiring), so that a trade which names its orders by id can be completed by a worker
that started a moment ago. Redis away is no reason to stop: the log says it once, clients notice nothing.
"""

from __future__ import annotations

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

log = structlog.get_logger("peatio_ws.shared")

ORDERS_KEPT: Final = 20_000
ORDERS_SECONDS: Final = 86_400
"""How long Redis keeps orders when nobody writes any more."""
MEMBERS_KEY: Final = "peatio:members"
ORDERS_KEY: Final = "peatio_ws:orders"
WRITER_KEY: Final = "peatio_ws:orders:writer"
FLUSH_SECONDS: Final = 0.25
LEASE_SECONDS: Final = 5
"""One worker writes orders to Redis at a time; if it dies, another takes over after at most this."""
REDIS_TIMEOUT: Final = 1.0
"""Seconds a client's authentication waits for Redis at most."""


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
        self._greenlet: gevent.Greenlet[Any, Any] | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._write_on)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._write_pending()

    def remember(self, order: Order) -> None:
        self.orders.remember(order)
        key = order.id.strip(b'"')
        self._pending.pop(key, None)
        self._pending[key] = (time.monotonic(), order)

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
                self._write_pending()
            except Exception:  # a bug here must not end the greenlet in silence
                log.exception("orders could not be shared")

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
