"""Members that resume with their last cursor, and a market that numbers its events: no number may be missing.

Each member's events are numbered 1, 2, 3, … in the order in which they are published. An event that the broker did not
confirm may be lost; it is published again under the next number. So repetitions by the publisher can be distinguished
from repetitions by the gateway.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import math
import random
import selectors
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import amqp
from amqp.exceptions import AMQPError

from tests.support import progress
from tests.support.swarm import SwarmClient

WAIT = 180.0
"""Seconds within which members have to have everything once all servers run again."""
CONFIRM_SECONDS = 90.0
APART = 1_000_000
"""Difference between the first event ids of two members."""


class Member:
    """A member that needs every event, and what it received.

    Attributes:
        got: numbers of events, as they arrived.
        cursor: the last one received; None before the first connection.
        incomplete: the notices that events may be missing.
        gaps: how many events had arrived at each notice.
        notified_at: monotonic time of the last notice; 0 before.
    """

    def __init__(self, index: int, uid: str, token: str) -> None:
        self.index, self.uid, self.token = index, uid, token
        self.got: list[int] = []
        self.cursor: str | None = None
        self.incomplete: list[str] = []
        self.gaps: set[int] = set()
        self.notified_at = 0.0
        self.resumed = 0

    def take(self, text: str) -> None:
        frame = json.loads(text)
        if "orderbook" in frame:
            self._count(frame["orderbook"]["id"], frame["cursor"])
        elif "trade" in frame:
            self._count(frame["trade"]["order_id"], frame["cursor"])
        elif "resume" in frame:
            notice = frame["resume"]
            if not notice["complete"]:
                self.gaps.add(len(self.got))
                self.notified_at = time.monotonic()
                self.incomplete.append(f"at {self.cursor}, after {len(self.got)} events: {text}")
            self.cursor = notice["cursor"]
            self.resumed += "success" in frame
        else:
            assert "challenge" in frame, text

    def _count(self, number: int, cursor: str) -> None:
        owner, number = divmod(number, APART)
        assert owner == self.index, f"{self.uid} got an event of another member"
        self.got.append(number)
        self.cursor = cursor


class _Line(SwarmClient):
    """One connection of a member."""

    def __init__(self, port: int, member: Member) -> None:
        self.member = member
        super().__init__(port, member.token)

    def hello(self) -> dict[str, str | bool]:
        return {**super().hello(), "resume": self.member.cursor or True}

    def read(self) -> None:
        super().read()
        texts, self.texts = self.texts, []
        for text in texts:
            self.member.take(text)


class Members:
    """All members, in one thread.

    Args:
        ports: ports of the gateways; each connection uses a random one.

    Attributes:
        cut: how many connections members closed, without a close frame.
        ends: how many connections the gateway ended, by close code; 0 without a close frame.
        silence: the longest time in which no member received an event, in seconds.
    """

    def __init__(self, members: list[Member], ports: list[int], pause: float = 0.7) -> None:
        self.members, self.ports, self.pause = members, ports, pause
        self.cut = 0
        self.silence, self._read_at = 0.0, 0.0
        self.ends: Counter[int] = Counter()
        self._lines: dict[Member, _Line] = {}
        self._selector = selectors.DefaultSelector()
        self._away = [(0.0, number, member) for number, member in enumerate(members)]
        self._turns = len(members)

    def __enter__(self) -> Members:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines.values():
            line.sock.close()
        self._selector.close()

    def cut_some(self, count: int) -> None:
        """Close some connections as a lost network would: data in transit is lost."""
        for member in random.sample(list(self._lines), min(count, len(self._lines))):
            line = self._lines[member]
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._leave(line)
            self.cut += 1

    def turn(self, seconds: float) -> None:
        """Read what arrives within a time, and connect members whose pause is over."""
        now = time.monotonic()
        while self._away and self._away[0][0] <= now:
            self._come(heapq.heappop(self._away)[2])
        for key, _ in self._selector.select(seconds):
            line: _Line = key.data
            with contextlib.suppress(OSError):
                before = len(line.member.got)
                line.read()
                if len(line.member.got) > before:
                    self._note_silence()
                if not line.ended and line.close is None and line.status in (0, 101):
                    continue
            self.ends[line.close[0] if line.close else 0] += 1
            self._leave(line)

    def _note_silence(self) -> None:
        now = time.monotonic()
        self.silence, self._read_at = max(self.silence, now - (self._read_at or now)), now

    def silence_of(self, disturb: Callable[[], object]) -> Callable[[], float]:
        """Disturb, and return a function that returns the longest silence since then, up to now."""
        before, self.silence = self.silence, 0.0
        disturb()

        def since() -> float:
            longest = max(self.silence, time.monotonic() - self._read_at)
            self.silence = max(before, self.silence)
            return longest

        return since

    def until(self, check: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}")
            self.turn(0.02)

    def live(self, seconds: float = 0, cuts: float = 0, until: Callable[[], bool] = lambda: True) -> None:
        """Read for a time, and until a condition holds, and meanwhile cut connections at random moments.

        Args:
            cuts: connections a second, of every 100 members.
        """
        began, done = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds or not until():
            assert now < seconds + WAIT, "the condition never held"
            self.turn(0.01)
            progress.tell(f"{now:.0f} of {seconds:g} s; {done:,} connections cut")
            due = int(now * cuts * len(self.members) / 100)
            if due > done:
                self.cut_some(due - done)
                done = due

    @property
    def connected(self) -> int:
        """Return how many members have a connection."""
        return len(self._lines)

    def all_resumed(self, times: int = 1) -> bool:
        """Return whether every member has authenticated at least this often."""
        return all(member.resumed >= times for member in self.members)

    def _come(self, member: Member) -> None:
        try:
            line = _Line(random.choice(self.ports), member)
        except OSError:
            self._rest(member)
            return
        self._lines[member] = line
        self._selector.register(line.sock, selectors.EVENT_READ, line)

    def _leave(self, line: _Line) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(line.sock)
        line.sock.close()
        del self._lines[line.member]
        self._rest(line.member)

    def _rest(self, member: Member) -> None:
        self._turns += 1
        heapq.heappush(self._away, (time.monotonic() + random.uniform(0.02, self.pause), self._turns, member))


class Market(threading.Thread):
    """Publishes at a steady rate: an order, a trade between two members, or a private event of an order.

    Args:
        urls: brokers, tried in turn.
        durable: whether the exchanges survive a restart of the broker.
        confirm_seconds: how long it waits for a confirm, before it publishes the event again on a new connection.

    Attributes:
        sure: the numbers that the broker confirmed, by member.
        maybe: the numbers that it did not confirm, by member.
        unroutable: how many events the broker could not route to a queue.
        silence: the longest time in which the broker confirmed no event, in seconds.
        last_from: the monotonic time just before a member's last event was published, by member; infinite before.
    """

    def __init__(
        self,
        urls: Sequence[str],
        members: list[Member],
        rate: float,
        durable: bool = True,
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        super().__init__(daemon=True)
        self._urls, self._members, self._rate, self._durable = itertools.cycle(urls), members, rate, durable
        self._confirm_seconds = confirm_seconds
        self._numbers = [0] * len(members)
        self._trade_id = random.randrange(2**40) * 1000
        self._over = threading.Event()
        self._channel: amqp.Channel | None = None
        self._connection: amqp.Connection | None = None
        self._returned: list[object] = []
        self.sure: list[list[int]] = [[] for _ in members]
        self.maybe: list[set[int]] = [set() for _ in members]
        self.lost_connections = self.unroutable = 0
        self.silence, self._confirmed_at = 0.0, 0.0
        self.failure: BaseException | None = None
        self.last_from = [math.inf] * len(members)

    @property
    def confirmed(self) -> int:
        return sum(map(len, self.sure))

    def run(self) -> None:
        try:
            due = time.monotonic()
            for turn in self._turns():
                due = max(due + 1 / self._rate, time.monotonic() - 0.1)  # do not catch up after a lost broker
                self._over.wait(max(0.0, due - time.monotonic()))
                if self._over.is_set():
                    break
                self._publish_turn(turn)
            for index in range(len(self._members)):  # any repeated event has arrived before this one
                while not self._last_order(index):
                    pass
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._hang_up()

    def end(self) -> None:
        """Publish a last event to every member, then stop."""
        self._over.set()

    def _turns(self) -> Iterator[int]:
        while True:
            order = list(range(len(self._members)))
            random.shuffle(order)
            yield from order

    def _publish_turn(self, index: int) -> None:
        match random.randrange(3):
            case 0:
                self._order(index, private=False)
            case 1:
                self._order(index, private=True)
            case _:
                self._trade(index, (index + random.randrange(1, len(self._members))) % len(self._members))

    def _last_order(self, index: int) -> bool:
        began = time.monotonic()
        published = self._order(index, private=True)
        if published:
            self.last_from[index] = began
        return published

    def _order(self, index: int, private: bool) -> bool:
        uid, number = self._members[index].uid, self._next(index)
        body = {"id": number, "side": "sell", "price": "9120.5", "state": "wait", "market": "btcusd"}
        if private:
            return self._publish("peatio.events.ranger", body, (number,), routing_key=f"private.{uid}.order")
        return self._publish("peatio.orderbook", body, (number,), headers={"uid": uid})

    def _trade(self, ask: int, bid: int) -> None:
        self._trade_id += 1
        numbers = self._next(ask), self._next(bid)
        body = {"id": self._trade_id, "price": "9100.0", "volume": "0.5", "ask_id": numbers[0], "bid_id": numbers[1]}
        uids = {"ask_uid": self._members[ask].uid, "bid_uid": self._members[bid].uid}
        self._publish("peatio.trade", body, numbers, headers=uids)

    def _next(self, index: int) -> int:
        self._numbers[index] += 1
        return index * APART + self._numbers[index]

    def _publish(
        self, exchange: str, body: object, numbers: tuple[int, ...], routing_key: str = "", headers: object = None
    ) -> bool:
        message = amqp.Message(
            json.dumps(body).encode(),
            content_type="application/octet-stream",
            application_headers=headers or {},
            delivery_mode=2,
        )
        try:
            self._open().basic_publish_confirm(
                message, exchange, routing_key, mandatory=True, confirm_timeout=self._confirm_seconds
            )
            routed = not self._returned
        except (AMQPError, OSError):
            self.lost_connections += 1
            routed = False
            self._hang_up()
            self._over.wait(0.05)
        self.unroutable += bool(self._returned)
        self._returned.clear()
        if routed:
            now = time.monotonic()
            self.silence = max(self.silence, now - (self._confirmed_at or now))
            self._confirmed_at = now
        for number in numbers:
            index, own = divmod(number, APART)
            if routed:
                self.sure[index].append(own)
            else:
                self.maybe[index].add(own)
        return routed

    def _open(self) -> amqp.Channel:
        if self._channel is None:
            host = next(self._urls).split("@")[1].split("/")[0]
            self._connection = amqp.Connection(host, confirm_publish=True, connect_timeout=5, read_timeout=60)
            self._connection.connect()
            self._channel = channel = self._connection.channel()
            channel.events["basic_return"].add(lambda *arguments: self._returned.append(arguments))
            for name, kind in (("orderbook", "fanout"), ("trade", "headers"), ("events.ranger", "topic")):
                channel.exchange_declare(f"peatio.{name}", kind, durable=self._durable, auto_delete=False)
        return self._channel

    def _hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.collect()
        self._channel = self._connection = None


def faults(members: list[Member], market: Market) -> list[str]:
    """Return what is wrong with the members' events; nothing if each received all its events once and in order."""
    found = []
    for member in members:
        sure, maybe = market.sure[member.index], market.maybe[member.index]
        strict = [number for number in member.got if number not in maybe]
        if strict != sure:
            missing = sorted(set(sure) - set(strict))
            twice = [number for number, times in Counter(strict).items() if times > 1]
            found.append(f"{member.uid}: {len(sure)} sure, missing {missing[:9]}, twice {twice[:9]}, else out of order")
        doubled = [n for n, times in Counter(n for n in member.got if n in maybe).items() if times > 1]
        if doubled:
            found.append(f"{member.uid}: {doubled} twice")
        found += [f"{member.uid}: notified of a gap {notice}" for notice in member.incomplete]
    return found


def unreported(members: list[Member], market: Market) -> list[str]:
    """Return events that members missed without a notice or received twice or out of order.
    A gap is allowed if the gateway reported it at that place."""
    found = []
    for member in members:
        got, sure = member.got, market.sure[member.index]
        if got != sorted(set(got)):
            found.append(f"{member.uid}: twice, or out of order")
        missing = sorted(set(sure) - set(got))
        for number in missing:
            came_before = sum(one < number for one in got)
            if not member.gaps & {came_before, came_before + 1}:
                found.append(f"{member.uid}: not notified that {number} is missing; gaps after {sorted(member.gaps)}")
                break
    return found
