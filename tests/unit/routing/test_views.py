"""Followers of views have the newest state at their pace, whatever happens to books, followers and sockets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.routing import followed_view, views
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, texts_in

SNAPSHOT = {"asks": [["2.0", "1"]], "bids": [["1.0", "1"]], "sequence": 5}


class Time:
    """A clock that tests set, and a wheel that goes by it."""

    now = 1000.0

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Any]] = []

    def monotonic(self) -> float:
        return self.now

    def wheel(self, on_due: Callable[[list[Any]], None]) -> Any:
        self.on_due = on_due
        return self

    def add(self, when: float, item: Any) -> None:
        self.waiting.append((when, item))

    def pass_by(self, seconds: float) -> None:
        until = self.now + seconds
        while due := sorted((when for when, _ in self.waiting if when <= until)):
            self.now = max(self.now, due[0])
            items = [item for when, item in self.waiting if when <= self.now]
            self.waiting = [(when, item) for when, item in self.waiting if when > self.now]
            self.on_due(items)
        self.now = until


class Follower:
    """A client.

    Attributes:
        times: at which something was sent to it.
    """

    def __init__(self, time: Time) -> None:
        self.time, self.times, self.wire = time, list[float](), Wire(self._on_write)
        self.outbox = Outbox(self.wire, 2**30, 3600.0)  # type: ignore[arg-type]

    def _on_write(self, offered: int) -> int:
        self.times.append(self.time.now)
        return offered

    def take(self) -> list[tuple[str, Any]]:
        """Return what came since the last call: streams and bodies."""
        self.outbox.flush()
        data, self.wire.taken = self.wire.taken, b""
        return [next(iter(frame.items())) for frame in texts_in(data)]

    def is_late(self, late: bool) -> None:
        self.outbox.size = int(late)


class Worker:
    def __init__(self) -> None:
        self.time = Time()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(views, "TimerWheel", self.time.wheel)
        for module in (views, followed_view):
            self.patch.setattr(module, "time", self.time)
        self.batch = Batch(WorkerCounters())
        self.channels = PublicChannels(self.batch, 100, lambda *_: None)

    def publish(self, name: str, body: Any) -> bool:
        sent = self.channels.publish(name, body if isinstance(body, bytes) else json.dumps(body).encode())
        self.batch.flush()
        return sent

    def follower(self, *names: str) -> Follower:
        follower = Follower(self.time)
        for name in names:
            self.channels.subscribe(follower.outbox, name)
        return follower

    def close(self) -> None:
        self.patch.undo()


@pytest.fixture
def worker() -> Any:
    worker = Worker()
    yield worker
    worker.close()


# ---- the latest event


def test_latest_event_comes_at_once_then_the_newest_at_its_pace(worker: Worker) -> None:
    ann = worker.follower("a.trades@250ms")
    worker.publish("a.trades", 1)
    assert ann.take() == [("a.trades@250ms", 1)]
    for body in (2, 3):
        worker.publish("a.trades", body)
    assert ann.take() == []
    worker.time.pass_by(0.24)
    assert ann.take() == []
    worker.time.pass_by(0.01)
    assert ann.take() == [("a.trades@250ms", 3)]
    worker.time.pass_by(10)
    assert ann.take() == []
    worker.publish("a.trades", 4)
    assert ann.take() == [("a.trades@250ms", 4)], "the first one after a quiet time comes at once"


def test_body_is_sent_byte_for_byte_and_the_stream_itself_is_not_delayed(worker: Worker) -> None:
    ann, bob = worker.follower("a.trades@250ms", "a.trades"), worker.follower("a.trades")
    body = b'{ "z":1.0, "a":12345678901234567890 }'
    worker.publish("a.trades", body)
    ann.outbox.flush()
    assert body in ann.wire.taken
    worker.publish("a.trades", 2)
    assert [frame for frame in ann.take() if frame[0] == "a.trades"][-1] == ("a.trades", 2)
    assert len(bob.take()) == 2


def test_new_follower_receives_what_others_received_last(worker: Worker) -> None:
    worker.publish("a.trades", 1)
    ann = worker.follower("a.trades@250ms")
    assert ann.take() == [("a.trades@250ms", 1)]
    worker.publish("a.trades", 2)
    bob = worker.follower("a.trades@250ms")
    assert (ann.take(), bob.take()) == ([], [("a.trades@250ms", 1)])
    worker.time.pass_by(0.25)
    assert ann.take() == bob.take() == [("a.trades@250ms", 2)]


def test_only_so_many_streams_are_remembered(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_REMEMBERED", 1)
    monkeypatch.setattr(views, "LARGEST_REMEMBERED", 10)
    for name in ("a.trades", "b.trades"):
        worker.publish(name, 1)
    ann = worker.follower("a.trades@250ms")
    assert ann.take()
    assert not worker.follower("b.trades@250ms").take()
    worker.channels.unsubscribe(ann.outbox, "a.trades@250ms")
    worker.publish("a.trades", "x" * 20)
    ann = worker.follower("a.trades@500ms")
    assert not ann.take(), "too large to be remembered for nobody"
    worker.publish("a.trades", "y" * 20)
    assert ann.take() == [("a.trades@500ms", "y" * 20)]


# ---- books


def test_changes_of_a_book_come_in_one_frame(worker: Worker) -> None:
    worker.publish("a.ob-snap", SNAPSHOT)
    ann = worker.follower("a.ob-inc@250ms")
    assert ann.take() == [("a.ob-snap", SNAPSHOT)]
    for number in range(6, 9):
        worker.publish("a.ob-inc", {"asks": [["2.0", str(number)]], "sequence": number})
    assert ann.take() == []
    worker.time.pass_by(0.25)
    change = {"asks": [["2.0", "8"]], "bids": [], "sequence": 8, "previous": 5}
    assert ann.take() == [("a.ob-inc@250ms", change)]


def test_prefixed_views_have_books_of_their_own(worker: Worker) -> None:
    worker.publish("admin.a.ob-snap", SNAPSHOT)
    assert worker.follower("a.ob-inc@250ms").take() == []
    assert worker.follower("admin.a.ob-inc@250ms").take() == [("a.ob-snap", SNAPSHOT)]
    assert worker.follower("admin.a.ob-top@1").take() == [("a.ob-top@1", SNAPSHOT)]


def test_views_of_a_book_that_comes_later_begin_with_it(worker: Worker) -> None:
    names = "a.ob-inc@250ms", "a.ob-top@1", "a.ob-snap@100ms"
    ann = worker.follower(*names)
    assert worker.channels.names() == 3
    assert worker.channels.needs_book()
    assert worker.publish("a.ob-snap", SNAPSHOT)
    assert sorted(ann.take()) == sorted([(name, SNAPSHOT) for name in ("a.ob-snap", "a.ob-top@1", "a.ob-snap@100ms")])
    assert not worker.channels.needs_book()


def test_who_is_late_receives_the_newest_and_nothing_piles_up(worker: Worker) -> None:
    worker.publish("a.ob-snap", SNAPSHOT)
    slow, fast = (worker.follower("a.ob-inc@250ms", "a.ob-top@1", "a.trades@250ms") for _ in range(2))
    for follower in (slow, fast):
        follower.take()
    slow.is_late(True)
    for number in range(6, 20):
        worker.publish("a.ob-inc", {"asks": [["2.0", str(number)]], "sequence": number})
        worker.publish("a.trades", number)
        worker.time.pass_by(1)
    assert slow.take() == []
    assert len(fast.take()) == 3 * 14
    slow.is_late(False)
    worker.time.pass_by(1)
    book = {"asks": [["2.0", "19"]], "bids": [["1.0", "1"]], "sequence": 19}
    assert sorted(slow.take()) == [("a.ob-snap", book), ("a.ob-top@1", book), ("a.trades@250ms", 19)]
    worker.publish("a.ob-inc", {"asks": [["2.0", "1"]], "sequence": 20})
    worker.time.pass_by(1)
    assert slow.take() == fast.take(), "from now on the same frames"


@pytest.mark.parametrize("name", ["a.ob-inc@5000ms", "a.ob-top@1/5000ms", "a.trades@5000ms"])
def test_who_is_late_does_not_delay_the_first_change_after_a_quiet_time(worker: Worker, name: str) -> None:
    def publish(number: int) -> None:
        worker.publish("a.ob-inc", {"asks": [["2.0", str(number)]], "sequence": number})
        worker.publish("a.trades", number)

    worker.publish("a.ob-snap", SNAPSHOT)
    worker.publish("a.trades", 5)
    slow, fast = (worker.follower(name) for _ in range(2))
    assert len(slow.take()) == 1
    slow.is_late(True)
    worker.time.pass_by(10)
    publish(6)
    worker.time.pass_by(12)
    fast.take()
    publish(7)
    assert len(fast.take()) == 1, "the first change did not come at once"
    publish(8)
    worker.time.pass_by(4.9)
    assert fast.take() == [], "more than one frame in five seconds"
    worker.time.pass_by(0.2)
    assert len(fast.take()) == 1
    slow.is_late(False)
    worker.time.pass_by(10)
    assert len(slow.take()) == 1


def test_who_returns_does_not_delay_others_and_keeps_the_pace_alone(worker: Worker) -> None:
    slow, fast = (worker.follower("a.trades@5000ms") for _ in range(2))
    worker.publish("a.trades", 1)
    for follower in (slow, fast):
        follower.take()
    slow.is_late(True)
    worker.time.pass_by(10)
    worker.publish("a.trades", 2)
    assert len(fast.take()) == 1
    worker.time.pass_by(9)
    slow.is_late(False)
    worker.time.pass_by(2)
    assert len(slow.take()) == 1
    worker.publish("a.trades", 3)
    assert len(fast.take()) == 1
    worker.channels.unsubscribe(fast.outbox, "a.trades@5000ms")
    slow.take()
    slow.is_late(True)
    worker.time.pass_by(10)
    worker.publish("a.trades", 4)
    slow.is_late(False)
    worker.time.pass_by(5)
    assert len(slow.take()) == 1
    worker.publish("a.trades", 5)
    assert slow.take() == [], "two frames in five seconds"


def test_who_missed_the_last_change_receives_it_without_another_one(worker: Worker) -> None:
    worker.publish("a.ob-snap", SNAPSHOT)
    slow = worker.follower("a.ob-inc@250ms")
    slow.take()
    worker.time.pass_by(1)
    slow.is_late(True)
    worker.publish("a.ob-inc", {"asks": [["2.0", "7"]], "sequence": 6})
    slow.is_late(False)
    worker.time.pass_by(1)
    book = {"asks": [["2.0", "7"]], "bids": [["1.0", "1"]], "sequence": 6}
    assert slow.take() == [("a.ob-snap", book)]


@pytest.mark.parametrize("late", [False, True])
def test_book_may_be_larger_than_the_outbox(worker: Worker, late: bool) -> None:
    follower = worker.follower("a.ob-inc@250ms" if late else "b.trades")
    follower.take()
    follower.outbox.limit = 1000
    book = {**SNAPSHOT, "asks": [[f"{number}.0", "1"] for number in range(2, 200)]}
    follower.wire._takes = lambda _offered: 0
    worker.publish("a.ob-snap", book)
    worker.channels.subscribe(follower.outbox, "a.ob-inc@250ms")
    follower.outbox.flush()
    assert not follower.outbox.closing
    follower.wire._takes = lambda offered: offered
    while follower.outbox.size:
        gevent.sleep(0)
    assert follower.take()[0] == ("a.ob-snap", book)


def test_views_that_are_due_at_once_do_not_overflow_the_outbox(worker: Worker) -> None:
    names = [f"m{number}.trades" for number in range(20)]
    for name in names:
        worker.publish(name, "old")
    follower = worker.follower(*(f"{name}@1000ms" for name in names))
    follower.take()
    follower.outbox.limit = 10_000
    for name in names:
        worker.publish(name, "x" * 1000)
    frames = []
    for _ in range(20):
        follower.wire._takes = lambda _offered: 0
        worker.time.pass_by(1)
        assert not follower.outbox.closing
        follower.wire._takes = lambda offered: offered
        while follower.outbox.size:
            gevent.sleep(0)
        frames += follower.take()
    assert sorted(frames) == sorted((f"{name}@1000ms", "x" * 1000) for name in names)


def test_a_view_that_nobody_follows_costs_nothing(worker: Worker) -> None:
    worker.publish("a.ob-snap", SNAPSHOT)
    names = "a.ob-inc@250ms", "a.ob-top@1", "b.trades@250ms", "c.ob-inc@250ms"
    ann, bob = worker.follower(*names), worker.follower(*names)
    assert worker.channels.subscriptions()["public"] == 8
    for follower in (ann, bob, bob):
        for name in names:
            worker.channels.unsubscribe(follower.outbox, name)
    assert worker.channels.names() == len(worker.channels) == worker.channels.subscriptions().total() == 0
    assert not worker.publish("a.ob-inc", {"asks": [["2.0", "1"]], "sequence": 6})
    worker.time.pass_by(10)
    assert worker.time.waiting == []


def test_names_of_views_of_published_streams_are_always_allowed(worker: Worker) -> None:
    worker.publish("a.ob-snap", SNAPSHOT)
    worker.publish("a.trades", 1)
    held = worker.channels.holds
    assert held("a.ob-inc@250ms")
    assert held("a.ob-top@20")
    assert held("a.trades@250ms")
    assert held("a.ob-snap@250ms")
    assert not held("b.ob-inc@250ms")
    assert not held("b.trades@250ms")
    worker.follower("b.trades@250ms")
    assert held("b.trades@250ms")


# ---- any order of everything

NAMES = ("a.ob-inc@100ms", "a.ob-inc@250ms", "a.ob-top@1/100ms", "a.ob-top@5", "a.trades@250ms")
SECONDS = {name: (0.1 if "100ms" in name else 0.25 if "250ms" in name else 0.5) for name in NAMES}
PRICES = st.sampled_from(["1", "2", "3", "4", "5", "6", "7"])
LEVELS = st.lists(st.tuples(PRICES, st.sampled_from(["0", "1", "2"])).map(list), max_size=3)


class AnyOrder(RuleBasedStateMachine):
    """Followers fold what they receive; it has to be the model's book at every frame, at no more than their pace."""

    def __init__(self) -> None:
        super().__init__()
        self.worker = Worker()
        self.followers: list[tuple[str, Follower, dict[str, Any]]] = []
        self.book: dict[str, dict[str, str]] = {"asks": {}, "bids": {}}
        self.number = self.trade = 0
        self.hole = False

    def teardown(self) -> None:
        self.worker.close()

    @rule(asks=LEVELS, bids=LEVELS)
    def snapshot(self, asks: list[list[str]], bids: list[list[str]]) -> None:
        self.book = {"asks": {}, "bids": {}}
        self.number += 1
        self.hole = False
        self._apply({"asks": asks, "bids": bids})
        self.worker.publish("a.ob-snap", {"asks": asks, "bids": bids, "sequence": self.number})

    @rule(asks=LEVELS, bids=LEVELS, skip=st.sampled_from([0, 0, 0, 0, 1]))
    def increment(self, asks: list[list[str]], bids: list[list[str]], skip: int) -> None:
        self.hole = self.hole or skip > 0
        self.number += 1 + skip
        self._apply({"asks": asks, "bids": bids})
        self.worker.publish("a.ob-inc", {"asks": asks, "bids": bids, "sequence": self.number})

    @rule()
    def trades(self) -> None:
        self.trade += 1
        self.worker.publish("a.trades", self.trade)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.worker.time.pass_by(seconds)

    @rule(name=st.sampled_from(NAMES))
    def joins(self, name: str) -> None:
        self.followers.append((name, self.worker.follower(name), {"book": None, "number": None}))

    @rule(number=st.integers(0, 20))
    def leaves(self, number: int) -> None:
        if number < len(self.followers):
            name, follower, _ = self.followers.pop(number)
            self.worker.channels.unsubscribe(follower.outbox, name)

    @rule(number=st.integers(0, 20), late=st.booleans())
    def reads_slowly(self, number: int, late: bool) -> None:
        if number < len(self.followers):
            self.followers[number][1].is_late(late)

    def _apply(self, body: dict[str, list[list[str]]]) -> None:
        for side, levels in body.items():
            for price, volume in levels:
                self.book[side].pop(price, None)
                if volume != "0":
                    self.book[side][price] = volume

    def sides(self, most: int = 100) -> dict[str, list[list[str]]]:
        asks, bids = (sorted(map(list, self.book[side].items())) for side in ("asks", "bids"))
        return {"asks": asks[:most], "bids": bids[::-1][:most]}

    @invariant()
    def everybody_has_the_state_at_the_pace(self) -> None:
        for name, follower, state in self.followers:
            for stream, body in follower.take():
                self.check(name, state, stream, body)
            # The first frame answers the subscription; the others keep the pace.
            apart = [later - earlier for earlier, later in itertools.pairwise(follower.times[1:])]
            assert all(seconds >= SECONDS[name] - 0.0001 for seconds in apart), (name, apart)

    def check(self, name: str, state: dict[str, Any], stream: str, body: Any) -> None:
        if "trades" in name:
            assert stream == name
            assert state["number"] != body
            state["number"] = body
        elif "top" in name:
            assert stream == name
            levels = int(name.partition("@")[2].partition("/")[0])
            assert len(body["asks"]) <= levels
            assert len(body["bids"]) <= levels
            assert body != state["book"]
            state["book"] = body
        else:
            if stream == "a.ob-snap":
                state["book"] = {side: dict(body[side]) for side in ("asks", "bids")}
            else:
                assert (stream, body["previous"]) == (name, state["number"])
                for side in ("asks", "bids"):
                    for price, volume in body[side]:
                        state["book"][side].pop(price, None)
                        if volume != "0":
                            state["book"][side][price] = volume
            state["number"] = body["sequence"]
            if state["number"] == self.number and not self.hole:
                assert state["book"] == self.book

    @rule()
    def all_is_quiet(self) -> None:
        """Everybody reads, and time passes: then everybody has the newest state."""
        for _, follower, _ in self.followers:
            follower.is_late(False)
        self.worker.time.pass_by(3)
        self.everybody_has_the_state_at_the_pace()
        for name, _, state in self.followers:
            if "trades" in name:
                assert state["number"] == (self.trade or None)
            elif self.number and not self.hole and self.has_book():
                if "top" in name:
                    levels = int(name.partition("@")[2].partition("/")[0])
                    assert {side: state["book"][side] for side in ("asks", "bids")} == self.sides(levels)
                else:
                    assert state["book"] == self.book

    def has_book(self) -> bool:
        return self.worker.channels.states()["current"] > 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
