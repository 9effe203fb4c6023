"""What workers count together through Redis: connections of a member or an address, and failed tokens of an address.

Connections are entries of the sorted sets `peatio_ws:connections:…`, which expire unless their worker renews them;
failures are counters `peatio_ws:failures:<address>`, which live for a minute. Never in a client's way: a worker's own
counts decide at once, and these a tenth of a second later.
"""

from __future__ import annotations

import functools
import time
from typing import Any, Final

from peatio_ws.auth.lockout import WINDOW_SECONDS, Failures
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Limited
from peatio_ws.cluster.local_state import Seat, tell_limited
from peatio_ws.cluster.redis_connection import Link
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, FAILURES_KEY, SEATS_KEY

SEAT_SECONDS: Final = 90
"""How long a connection counts after its worker was heard of last."""
PIECE: Final = 200
"""Connections or addresses that Redis is told of at a time: some 5 ms of a worker's time."""


class RedisLimits:
    """The counts of one worker, told to the others.

    Args:
        link: to Redis.
        failures: of this worker; what all have counted is put in.
    """

    def __init__(self, link: Link, failures: Failures) -> None:
        self._link, self._failures = link, failures
        self._seats: dict[str, Seat] = {}
        self._left: list[Seat] = []  # to be struck out
        self._due: list[Seat] = []  # to be renewed
        self._new: list[Seat] = []  # to be entered
        self._refresh_at = 0.0

    def take(self, seat: Seat) -> None:
        """See `Shared.take_seat`."""
        self._seats[seat.id] = seat
        self._new.append(seat)

    def leave(self, seat: Seat) -> None:
        """See `Shared.leave_seat`."""
        if self._seats.pop(seat.id, None) is not None:
            seat.excess = _nothing  # it would hold the connection for as long as Redis is away
            self._left.append(seat)

    def leave_all(self) -> None:
        """The worker ends."""
        self._left += self._seats.values()
        self._seats.clear()
        self._count_seats()

    def count(self) -> None:
        """Tell Redis what is new, and learn what the others counted. Waits for Redis."""
        self._count_seats()
        self._count_failures()

    def _count_seats(self) -> None:
        """Enter who came, strike out who left, and now and then say that the others are still there."""
        now = time.monotonic()
        if now >= self._refresh_at:
            self._refresh_at = now + SEAT_SECONDS / 3
            self._due = list(self._seats.values())
        # Not all at once: putting together the commands for thousands would hold up everybody's events.
        while self._left or self._new or self._due:
            if not (self._strike_out() if self._left else self._let_in() if self._new else self._renew()):
                self._refresh_at = 0.0
                self._forget_passers_by()
                return

    def _forget_passers_by(self) -> None:
        """While Redis is away: who came and left meanwhile is not in it."""
        new = {seat.id for seat in self._new}
        self._left = [seat for seat in self._left if seat.id not in new]
        self._new = [seat for seat in self._new if seat.id in self._seats]

    def _strike_out(self) -> bool:
        """Some of those who left; whether Redis took it."""
        some = self._left[:PIECE]
        with self._link.redis.pipeline(transaction=False) as pipe:
            for seat in some:
                pipe.zrem(SEATS_KEY + seat.name, seat.id)
            if self._link.run("connections that left", pipe) is None:
                return False
        del self._left[: len(some)]  # others may have been put behind them
        return True

    def _let_in(self) -> bool:
        """Some of those who came, and close whoever is one too many; whether Redis took it."""
        some, now = self._new[:PIECE], time.time()
        seats = [seat for seat in some if seat.id in self._seats]
        with self._link.redis.pipeline(transaction=False) as pipe:
            for seat in seats:
                pipe.zremrangebyscore(SEATS_KEY + seat.name, 0, now)
                _enter(pipe, seat, now)
                pipe.zcard(SEATS_KEY + seat.name)
            answers = self._link.run("new connections", pipe)
        if answers is None:
            return False
        del self._new[: len(some)]
        for seat, count in zip(seats, answers[3::4], strict=True):
            if count > seat.limit:
                excess = seat.excess
                self.leave(seat)
                excess()
        return True

    def _renew(self) -> bool:
        """Some of those who stay; whether Redis took it."""
        some, now = self._due[:PIECE], time.time()
        with self._link.redis.pipeline(transaction=False) as pipe:
            for seat in some:
                if seat.id in self._seats:
                    _enter(pipe, seat, now)
            if self._link.run("connections that stay", pipe) is None:
                return False
        del self._due[: len(some)]
        return True

    def _count_failures(self) -> None:
        """Piece by piece: after an absence of Redis there may be thousands of addresses."""
        counted = self._failures.untold(time.monotonic())
        for at in range(0, len(counted), PIECE):
            if not self._tell(counted[at : at + PIECE]):
                return

    def _tell(self, counted: list[tuple[str, int]]) -> bool:
        """Some addresses that failed, and learn what the others counted; whether Redis took it."""
        failures, seconds = self._failures, round(WINDOW_SECONDS)
        with self._link.redis.pipeline(transaction=False) as pipe:
            for address, count in counted:
                # EXPIRE … NX is of Redis 7.0; this begins the minute with the first failure on any version.
                pipe.set(FAILURES_KEY + address, 0, ex=seconds, nx=True)
                pipe.incrby(FAILURES_KEY + address, count)
                pipe.pttl(FAILURES_KEY + address)
            answers = self._link.run("failed tokens", pipe)
        if answers is None:
            return False
        for (address, count), total, left in zip(counted, answers[1::3], answers[2::3], strict=True):
            if left < 0:  # it expired between the two commands: without a time it would count for ever
                self._begin_minute(address, seconds)
            seconds_left = left / 1000 if left >= 0 else seconds
            reached = failures.told(address, count, total, seconds_left, time.monotonic())
            if total >= failures.limit > total - count and seconds_left > 0:
                if reached:
                    tell_limited(address)
                said = commands.write(Limited(address, seconds_left))
                self._link.ask(
                    "telling of a limit", functools.partial(self._link.redis.publish, COMMANDS_CHANNEL, said)
                )
        return True

    def _begin_minute(self, address: str, seconds: int) -> None:
        again = functools.partial(self._link.redis.expire, FAILURES_KEY + address, seconds)
        self._link.ask("failed tokens", again)


def _nothing() -> None:
    """For a seat that is left."""


def _enter(pipe: Any, seat: Seat, now: float) -> None:
    pipe.zadd(SEATS_KEY + seat.name, {seat.id: now + SEAT_SECONDS})
    pipe.expire(SEATS_KEY + seat.name, SEAT_SECONDS)
