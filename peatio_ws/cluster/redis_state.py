"""State that workers share through Redis.

This module shares orders as last seen, in the stream `peatio_ws:orders`, which is bounded and expires. With them, a
worker that has just started can complete a trade that names its orders by id. Other modules share member ids
(`redis_member_ids.py`), books (`redis_books.py`), limits (`redis_limits.py`) and commands (`redis_commands.py`). If
Redis is unreachable, the gateway continues: `redis_connection.py` logs it once, and clients notice nothing.
"""

from __future__ import annotations

import functools
import itertools
import time
import uuid
from typing import Any, Final

import gevent
import msgspec
import structlog

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import ORDERS_KEPT, Books, CommandTarget, ConnectionSlot, MemberIdLookup, SharedState
from peatio_ws.cluster.redis_books import RedisBooks
from peatio_ws.cluster.redis_commands import RedisCommands
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import ORDERS_KEY, WRITER_KEY
from peatio_ws.cluster.redis_limits import RedisLimits
from peatio_ws.cluster.redis_member_ids import RedisMemberIds
from peatio_ws.protocol.message_fields import Owner
from peatio_ws.protocol.private_events.order import Order, classic_order

log = structlog.get_logger("peatio_ws.cluster.redis_state")

ORDERS_SECONDS: Final = 86_400
"""How long Redis keeps orders after the last write."""
FLUSH_SECONDS: Final = 0.1
BATCH: Final = 200
"""Orders per request. All of them in one request would delay the events of all clients."""
LEASE_SECONDS: Final = 5
"""Only one worker at a time writes orders to Redis. If it dies, another takes over within this time."""

_row = msgspec.json.Decoder(tuple[str | int, msgspec.Raw])


class RedisSharedState(SharedState):
    """State shared through Redis.

    Args:
        url: `REDIS_URL`.
    """

    def __init__(self, url: str, revocations: Revocations, lockout: Lockout) -> None:
        super().__init__(revocations, lockout)
        self._connection = RedisConnection(url)
        self._id = ""
        self._pending: dict[bytes, tuple[float, Order]] = {}
        self._load_wanted = False
        self._members = RedisMemberIds(self._connection)
        self._limits = RedisLimits(self._connection, lockout)
        self._greenlet: gevent.Greenlet[Any, Any] | None = None
        self._books: RedisBooks | None = None
        self._commands: RedisCommands | None = None

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def start(self, books: Books, target: CommandTarget) -> None:
        # Not before: the master may have made this object for all workers (gunicorn's `preload_app`).
        self._id = uuid.uuid4().hex
        self._greenlet = gevent.spawn(self._run_writer)
        self._members.start()
        self._books = RedisBooks(self._connection, books)
        self._books.start()
        self._commands = RedisCommands(self._connection, self.revocations, self.lockout, target)
        self._commands.start()

    def wait(self) -> None:
        if self._commands is not None:
            self._commands.wait()

    def stop(self) -> None:
        for part in (self._members, self._commands, self._books):
            if part is not None:
                part.stop()
        if self._greenlet is not None:
            self._greenlet.kill()
            self._write_pending()
            self._limits.release_all()

    def remember(self, order: Order) -> None:
        self.orders.remember(order)
        key = order.id.strip(b'"')
        self._pending.pop(key, None)
        self._pending[key] = (time.monotonic(), order)

    def ask_books(self) -> None:
        if self._books is not None:
            self._books.request()

    def forget_book(self, name: str) -> None:
        if self._books is not None:
            self._books.forget(name)

    def claim_slot(self, slot: ConnectionSlot) -> None:
        self._limits.claim(slot)

    def release_slot(self, slot: ConnectionSlot) -> None:
        self._limits.release(slot)

    def publish(self, channel: str, message: bytes) -> int | None:
        answer = self._connection.ask("publishing", lambda: (self._connection.redis.publish(channel, message),))
        return None if answer is None else int(answer[0])

    def load(self) -> None:
        self._load_wanted = True  # the background greenlet retries until Redis answers

    def look_up(self, uid: str) -> MemberIdLookup:
        return self._members.look_up(uid)

    def forget_lookup(self, lookup: MemberIdLookup) -> None:
        self._members.forget(lookup)

    def _run_writer(self) -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            try:
                self._exchange()
            except Exception:  # a bug must not end the greenlet silently
                log.exception("sharing orders and counts failed")

    def _exchange(self) -> None:
        self._connection.maintain()
        self._limits.count()  # first, so that it does not depend on the orders
        if self._load_wanted:
            self._load()
        self._write_pending()

    def _load(self) -> None:
        newest: dict[bytes, tuple[Owner, msgspec.Raw]] = {}
        read, before, unreadable = 0, b"+", 0
        while read < ORDERS_KEPT and self._connection.has_streams:
            page = functools.partial(self._connection.redis.xrevrange, ORDERS_KEY, before, count=BATCH)
            rows = self._connection.ask("reading orders", page)
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
            if len(rows) < BATCH:
                break
            read, before = read + len(rows), _before(rows[-1][0])
        self._load_wanted = False
        for order_id, (owner, classic) in reversed(newest.items()):
            self.orders.remember_older(order_id, owner, bytes(classic))
        log.info("orders loaded", orders=len(newest), unreadable=unreadable)

    def _write_pending(self) -> None:
        if not self._pending:
            return
        if self._connection.has_streams and self._holds_lease() and self._write_all():
            return
        # Another worker writes. Orders that it may lose if it dies are kept until the lease has changed hands.
        now = time.monotonic()
        for key in [key for key, (at, _) in self._pending.items() if now - at > 2 * LEASE_SECONDS]:
            del self._pending[key]

    def _write_all(self) -> bool:
        """Write the pending orders. Return whether Redis accepted all of them."""
        while some := list(itertools.islice(self._pending.items(), BATCH)):
            with self._connection.redis.pipeline(transaction=False) as pipe:
                for key, (_, order) in some:
                    value = msgspec.json.encode((order.owners[0], msgspec.Raw(classic_order(order))))
                    pipe.xadd(ORDERS_KEY, {key: value}, maxlen=ORDERS_KEPT, approximate=True)
                pipe.expire(ORDERS_KEY, ORDERS_SECONDS)
                if self._connection.run("writing orders", pipe) is None:
                    return False
            for key, written in some:
                if self._pending.get(key) is written:  # else it has changed meanwhile
                    del self._pending[key]
        return True

    def _holds_lease(self) -> bool:
        seconds = LEASE_SECONDS * 1000
        with self._connection.redis.pipeline(transaction=False) as pipe:  # SET … NX GET needs Redis 7.0
            pipe.set(WRITER_KEY, self._id, nx=True, px=seconds)
            pipe.get(WRITER_KEY)
            answers = self._connection.run("writing orders, in turn", pipe)
        if answers is None or answers[1] != self._id.encode():
            return False
        renew = functools.partial(self._connection.redis.pexpire, WRITER_KEY, seconds)
        return bool(self._connection.ask("writing orders, in turn", renew))


def _before(entry_id: bytes) -> bytes:
    """Return the largest id below this one. Exclusive ranges, `(id`, need Redis 6.2."""
    milliseconds, _, number = entry_id.partition(b"-")
    if int(number):
        return b"%b-%d" % (milliseconds, int(number) - 1)
    return b"%d" % (int(milliseconds) - 1)  # without a number: its last one
