"""Limits across workers: connections of a member or an address, and failed tokens of an address.

Connections are entries of the sorted sets `peatio_ws:connections:…`, which expire unless their worker renews them.
Failures are counters `peatio_ws:failures:<address>`, which live for a minute. Clients never wait for Redis: a worker's
own counts apply at once, and those of all workers a tenth of a second later.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Final

from peatio_ws.auth.lockout import WINDOW_SECONDS, Lockout
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import AddressLocked
from peatio_ws.cluster.local_state import ConnectionSlot, log_lockout
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, FAILURES_KEY, SLOTS_KEY

SLOT_SECONDS: Final = 90
"""How long a connection counts after its worker last renewed it."""
BATCH: Final = 200
"""Connections or addresses per pipeline: about 5 ms of a worker's time."""


class RedisLimits:
    """Reports the counts of one worker to Redis.

    Args:
        connection: to Redis.
        lockout: this worker's lockout, which receives the totals of all workers.
    """

    def __init__(self, connection: RedisConnection, lockout: Lockout) -> None:
        self._connection, self._lockout = connection, lockout
        self._slots: dict[str, ConnectionSlot] = {}
        self._left: list[ConnectionSlot] = []  # to be removed
        self._due: list[ConnectionSlot] = []  # to be renewed
        self._new: list[ConnectionSlot] = []  # to be added
        self._refresh_at = 0.0

    def claim(self, slot: ConnectionSlot) -> None:
        """See `SharedState.claim_slot`."""
        self._slots[slot.id] = slot
        self._new.append(slot)

    def release(self, slot: ConnectionSlot) -> None:
        """See `SharedState.release_slot`."""
        if self._slots.pop(slot.id, None) is not None:
            slot.on_excess = _ignore  # the callback would keep the connection alive while Redis is unreachable
            self._left.append(slot)

    def release_all(self) -> None:
        """Release all slots: the worker ends."""
        self._left += self._slots.values()
        self._slots.clear()
        self._count_slots()

    def count(self) -> None:
        """Report new counts to Redis, and read the totals of all workers. Waits for Redis."""
        self._count_slots()
        self._count_failures()

    def _count_slots(self) -> None:
        """Add new connections, remove those that ended, and renew the others from time to time."""
        now = time.monotonic()
        if now >= self._refresh_at:
            self._refresh_at = now + SLOT_SECONDS / 3
            self._due = list(self._slots.values())
        # In batches, because commands for thousands of connections would delay the events of all clients.
        while self._left or self._new or self._due:
            if not (self._remove_left() if self._left else self._add_new() if self._new else self._renew()):
                self._refresh_at = 0.0
                self._forget_short_lived()
                return

    def _forget_short_lived(self) -> None:
        """Forget connections that both started and ended while Redis was unreachable."""
        new = {slot.id for slot in self._new}
        self._left = [slot for slot in self._left if slot.id not in new]
        self._new = [slot for slot in self._new if slot.id in self._slots]

    def _remove_left(self) -> bool:
        """Remove a batch of ended connections. Return whether Redis accepted it."""
        some = self._left[:BATCH]
        with self._connection.redis.pipeline(transaction=False) as pipe:
            for slot in some:
                pipe.zrem(SLOTS_KEY + slot.name, slot.id)
            if self._connection.run("connections that left", pipe) is None:
                return False
        del self._left[: len(some)]  # others may have been appended meanwhile
        return True

    def _add_new(self) -> bool:
        """Add a batch of new connections, and close those over the limit. Return whether Redis accepted it."""
        some, now = self._new[:BATCH], time.time()
        slots = [slot for slot in some if slot.id in self._slots]
        with self._connection.redis.pipeline(transaction=False) as pipe:
            for slot in slots:
                pipe.zremrangebyscore(SLOTS_KEY + slot.name, 0, now)
                _add_slot(pipe, slot, now)
                pipe.zcard(SLOTS_KEY + slot.name)
            answers = self._connection.run("new connections", pipe)
        if answers is None:
            return False
        del self._new[: len(some)]
        for slot, count in zip(slots, answers[3::4], strict=True):
            if count > slot.limit:
                on_excess = slot.on_excess
                self.release(slot)
                on_excess()
        return True

    def _renew(self) -> bool:
        """Renew a batch of open connections. Return whether Redis accepted it."""
        some, now = self._due[:BATCH], time.time()
        with self._connection.redis.pipeline(transaction=False) as pipe:
            for slot in some:
                if slot.id in self._slots:
                    _add_slot(pipe, slot, now)
            if self._connection.run("connections that stay", pipe) is None:
                return False
        del self._due[: len(some)]
        return True

    def _count_failures(self) -> None:
        """Report failures in batches: after Redis was unreachable there may be thousands of addresses."""
        counted = self._lockout.unreported(time.monotonic())
        for at in range(0, len(counted), BATCH):
            if not self._report(counted[at : at + BATCH]):
                return

    def _report(self, counted: list[tuple[str, int]]) -> bool:
        """Report a batch of addresses, and read their totals. Return whether Redis accepted it."""
        lockout, seconds = self._lockout, round(WINDOW_SECONDS)
        with self._connection.redis.pipeline(transaction=False) as pipe:
            for address, count in counted:
                # Starts the minute at the first failure on any version; EXPIRE … NX needs Redis 7.0.
                pipe.set(FAILURES_KEY + address, 0, ex=seconds, nx=True)
                pipe.incrby(FAILURES_KEY + address, count)
                pipe.pttl(FAILURES_KEY + address)
            answers = self._connection.run("failed tokens", pipe)
        if answers is None:
            return False
        for (address, count), total, left in zip(counted, answers[1::3], answers[2::3], strict=True):
            if left < 0:  # it expired between the two commands, and without a TTL it would stay for ever
                self._start_window(address, seconds)
            seconds_left = left / 1000 if left >= 0 else seconds
            reached = lockout.add_total(address, count, total, seconds_left, time.monotonic())
            crosses = total >= lockout.limit > total - count
            # The total may be below the limit: the next failure has come while this one was reported.
            if reached and (crosses or total < lockout.limit):
                log_lockout(address)
            if crosses and seconds_left > 0:
                message = commands.encode(AddressLocked(address, seconds_left))
                self._connection.ask(
                    "publishing a lockout", functools.partial(self._connection.redis.publish, COMMANDS_CHANNEL, message)
                )
        return True

    def _start_window(self, address: str, seconds: int) -> None:
        again = functools.partial(self._connection.redis.expire, FAILURES_KEY + address, seconds)
        self._connection.ask("failed tokens", again)


def _ignore() -> None:
    """Do nothing: the callback of a released slot."""


def _add_slot(pipe: Any, slot: ConnectionSlot, now: float) -> None:
    pipe.zadd(SLOTS_KEY + slot.name, {slot.id: now + SLOT_SECONDS})
    pipe.expire(SLOTS_KEY + slot.name, SLOT_SECONDS)
