"""New subscribers are sent the publisher's book or nothing; those served have no hole that they were not told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peatio_ws.orderbook.sync import (
    INCREMENTS_KEPT,
    INCREMENTS_REMEMBERED,
    REPEATS_REMEMBERED,
    Frame,
    State,
    Store,
    Verdict,
)

SNAPSHOT = b'{"asks":[["15.0","21.7"]],"bids":[["10.95","21.7"]],"sequence":7}'
UNNUMBERED = b'{"asks":[["15.0","21.7"]],"bids":[]}'


def inc(sequence: int) -> bytes:
    return b'{"asks":["16.0","%d"],"sequence":%d}' % (sequence, sequence)


def book(sequence: int) -> bytes:
    """`SNAPSHOT` and the increments up to this one; any sequence is allowed, as in another worker's export."""
    asks = b',["16.0","%d"]' % sequence if sequence > 7 else b""
    return b'{"asks":[["15.0","21.7"]%b],"bids":[["10.95","21.7"]],"sequence":%d}' % (asks, sequence)


def snaps(*bodies: bytes) -> list[Frame]:
    """The first body is the snapshot's, the others are increments."""
    return [("inc" if number else "snap", body) for number, body in enumerate(bodies)]


# ---- stores in every state

Make = Callable[[], Store]


def empty() -> Store:
    return Store()


def current() -> Store:
    store = Store()
    assert store.snapshot(SNAPSHOT)
    return store


def unnumbered() -> Store:
    store = Store()
    assert store.snapshot(UNNUMBERED)
    return store


def other() -> Store:
    store = Store()
    assert store.snapshot(b"[1, 2]")
    return store


def out_of_step() -> Store:
    """The book went on to 7 by a snapshot, those served are at 5."""
    store = Store()
    store.snapshot(book(5))
    assert not store.snapshot(SNAPSHOT)
    return store


def unconfirmed() -> Store:
    store = current()
    store.doubt()
    return store


def adopted() -> Store:
    """A stored book, which nobody was served."""
    store = Store()
    assert not store.adopt(SNAPSHOT, fresh=False)
    return store


def broken() -> Store:
    """A book of 7 that missed 8."""
    store = current()
    assert store.increment(inc(9)) is Verdict.HOLE
    return store


def doubted() -> Store:
    """A book without a number, after the connection was lost."""
    store = unnumbered()
    store.doubt()
    return store


EMPTY, CURRENT, UNCONFIRMED, BROKEN = State.EMPTY, State.CURRENT, State.UNCONFIRMED, State.BROKEN
INCREMENTS = {"next": inc(8), "last": inc(7), "far": inc(10), "bare": b'{"asks":["16.0","1"]}', "odd": b"[4]"}
TABLE: dict[Make, tuple[State, dict[str, tuple[Verdict, State]]]] = {
    empty: (EMPTY, dict.fromkeys(INCREMENTS, (Verdict.HELD, EMPTY))),
    current: (
        CURRENT,
        {
            "next": (Verdict.SEND, CURRENT),
            "last": (Verdict.STALE, CURRENT),
            "far": (Verdict.HOLE, BROKEN),
            "bare": (Verdict.SEND, CURRENT),
            "odd": (Verdict.SEND, CURRENT),
        },
    ),
    unnumbered: (CURRENT, dict.fromkeys(INCREMENTS, (Verdict.SEND, CURRENT))),
    other: (CURRENT, dict.fromkeys(INCREMENTS, (Verdict.SEND, CURRENT))),
    out_of_step: (
        CURRENT,
        {
            "next": (Verdict.RESTORED, CURRENT),
            "last": (Verdict.STALE, CURRENT),
            "far": (Verdict.HOLE, BROKEN),
            "bare": (Verdict.RESTORED, CURRENT),
            "odd": (Verdict.RESTORED, CURRENT),
        },
    ),
    unconfirmed: (
        UNCONFIRMED,
        {
            "next": (Verdict.CONFIRMED, CURRENT),
            "last": (Verdict.STALE, UNCONFIRMED),
            "far": (Verdict.HOLE, BROKEN),
            "bare": (Verdict.HOLE, BROKEN),
            "odd": (Verdict.HOLE, BROKEN),
        },
    ),
    adopted: (
        UNCONFIRMED,
        {
            "next": (Verdict.RESTORED, CURRENT),
            "last": (Verdict.STALE, UNCONFIRMED),
            "far": (Verdict.HOLE, BROKEN),
            "bare": (Verdict.HOLE, BROKEN),
            "odd": (Verdict.HOLE, BROKEN),
        },
    ),
    broken: (
        BROKEN,
        {
            "next": (Verdict.STALE, BROKEN),
            "last": (Verdict.STALE, BROKEN),
            "far": (Verdict.PASS_ON, BROKEN),
            "bare": (Verdict.PASS_ON, BROKEN),
            "odd": (Verdict.PASS_ON, BROKEN),
        },
    ),
    doubted: (BROKEN, dict.fromkeys(INCREMENTS, (Verdict.PASS_ON, BROKEN))),
}
EVERY_STATE = pytest.mark.parametrize("make", TABLE, ids=lambda make: make.__name__)


@pytest.mark.parametrize("name", INCREMENTS)
@EVERY_STATE
def test_every_increment_has_its_verdict_in_every_state(make: Make, name: str) -> None:
    before, verdicts = TABLE[make]
    store = make()
    assert store.state is before
    assert (store.increment(INCREMENTS[name]), store.state) == verdicts[name]


@EVERY_STATE
def test_only_a_current_store_serves(make: Make) -> None:
    store = make()
    assert store.current == (store.state is CURRENT) == bool(store.first_frames())
    assert store.current or store.export() is None


@pytest.mark.parametrize("body", [SNAPSHOT, UNNUMBERED, b"[1]"])
@EVERY_STATE
def test_a_snapshot_makes_any_store_current_and_is_for_everybody_if_it_was_not(make: Make, body: bytes) -> None:
    store = make()
    before = store.state
    assert store.snapshot(body) == (before is not CURRENT)
    assert store.current
    assert store.first_frames()[0][0] == "snap"


@EVERY_STATE
def test_a_doubt_leaves_no_store_current(make: Make) -> None:
    store = make()
    numbered = store.sequence is not None
    before = store.state
    store.doubt()
    expected = (UNCONFIRMED if numbered else BROKEN) if before is CURRENT else before
    assert store.state is expected


def test_an_increment_is_passed_on_to_those_served_or_not() -> None:
    passed_on = {verdict for verdict in Verdict if verdict.passes_on}
    assert passed_on == {Verdict.SEND, Verdict.CONFIRMED, Verdict.HOLE, Verdict.RESTARTED, Verdict.PASS_ON}


# ---- books


def test_a_book_is_one_snapshot_that_increments_keep_up_to_date() -> None:
    store = current()
    assert store.increment(b'{"asks":["15.00","22.5"],"sequence":8}') is Verdict.SEND
    assert store.increment(b'{"bids":[["10.95","0"],["11.00","3.0"]],"sequence":"9"}') is Verdict.SEND
    rendered = b'{"asks":[["15.00","22.5"]],"bids":[["11.00","3.0"]],"sequence":"9"}'
    assert store.first_frames() == [("snap", rendered)]
    assert (store.sequence, store.export()) == (9, rendered)


def test_a_book_is_rendered_once_for_all_who_come_between_two_changes() -> None:
    store = current()
    frames = store.first_frames()
    assert store.first_frames() is frames
    store.increment(inc(7))
    assert store.first_frames() is frames
    store.increment(inc(8))
    assert store.first_frames() == [("snap", book(8))]
    assert frames == [("snap", book(7))]


def test_a_sequence_is_compared_exactly_however_long() -> None:
    store = Store()
    start = 10**40
    store.snapshot(book(start))
    assert store.increment(inc(start + 2)) is Verdict.HOLE
    store.snapshot(book(start))
    assert store.increment(inc(start + 1)) is Verdict.SEND
    assert store.first_frames() == [("snap", book(start + 1))]


def test_a_publisher_may_start_again_from_0() -> None:
    store = current()
    assert not store.snapshot(book(0))
    assert store.increment(inc(1)) is Verdict.RESTORED, "those served are at 7"
    assert store.increment(inc(2)) is Verdict.SEND


def test_a_later_snapshot_of_the_same_state_is_nothing_to_those_served() -> None:
    store = current()
    store.increment(inc(8))
    assert not store.snapshot(b'{"asks":[],"sequence":8}')
    assert store.increment(b'{"sequence":9}') is Verdict.SEND
    assert store.first_frames() == [("snap", b'{"asks":[],"bids":[],"sequence":9}')]


def test_snapshots_without_a_number_between_numbered_increments_are_taken_as_they_come() -> None:
    store = current()
    assert not store.snapshot(UNNUMBERED)
    assert (store.sequence, store.export()) == (None, None)
    assert store.increment(inc(8)) is Verdict.SEND
    assert store.sequence == 8
    assert store.increment(inc(10)) is Verdict.HOLE


def test_an_increment_without_a_number_takes_the_books_number_away() -> None:
    store = current()
    store.increment(b'{"asks":["15.0","0"]}')
    assert store.first_frames() == [("snap", b'{"asks":[],"bids":[["10.95","21.7"]]}')]
    assert (store.sequence, store.export()) == (None, None)


def test_a_hole_is_told_once() -> None:
    store = current()
    verdicts = [store.increment(inc(number)) for number in (9, 10, 12, 12, 13)]
    assert [verdict.value for verdict in verdicts] == ["hole", "pass_on", "pass_on", "stale", "pass_on"]
    store.snapshot(book(20))
    assert store.increment(inc(22)) is Verdict.HOLE


def test_a_doubt_that_nothing_was_missed_in_costs_nobody_anything() -> None:
    store = current()
    store.doubt()
    store.doubt()
    assert (store.first_frames(), store.sequence) == ([], 7)
    assert store.increment(inc(8)) is Verdict.CONFIRMED
    assert store.increment(inc(9)) is Verdict.SEND
    assert store.first_frames() == [("snap", book(9))]


def test_a_doubt_while_those_served_lag_behind_serves_everybody_anew() -> None:
    store = out_of_step()
    store.doubt()
    assert store.increment(inc(8)) is Verdict.RESTORED


def test_those_who_lagged_behind_a_book_that_broke_are_in_step_after_the_next_snapshot() -> None:
    store = out_of_step()
    store.increment(inc(9))
    assert store.snapshot(book(9))
    assert store.increment(inc(10)) is Verdict.SEND


# ---- a sequence that starts again

NUMBERED = [current, out_of_step, unconfirmed, adopted, broken]


def new(sequence: int) -> bytes:
    """An increment of an engine that started again: not what the old one had under this number."""
    return b'{"bids":["9.0","%d"],"sequence":%d}' % (sequence, sequence)


def verdicts(store: Store, *bodies: bytes) -> list[str]:
    return [store.increment(body).value for body in bodies]


@pytest.mark.parametrize("make", NUMBERED)
def test_three_that_count_upwards_from_below_end_the_old_book(make: Make) -> None:
    store = make()
    assert verdicts(store, *map(new, range(1, 7))) == ["stale", "stale", "restarted", "pass_on", "pass_on", "pass_on"]
    assert (store.state, store.sequence, store.first_frames(), store.export()) == (BROKEN, None, [], None)
    for start in (2, 7, 9):
        assert not store.adopt(book(start), fresh=True), "it may be of the old engine"
    assert store.snapshot(book(6))
    assert verdicts(store, new(7), new(8)) == ["send", "send"]


def test_before_the_first_book_a_sequence_that_starts_again_ends_what_was_heard() -> None:
    store = after(100, 101)
    assert [store.increment(new(number)) for number in (1, 2, 3, 4)][:2] == [Verdict.HELD] * 2
    assert store.state is EMPTY
    assert not store.adopt(book(99), fresh=True)
    assert store.snapshot(book(4))


@pytest.mark.parametrize(
    "numbers", [(1, 1, 1, 1), (1, 2, 1, 2, 1), (3, 2, 1), (1, 3, 5), (5, 5, 6, 6), (1, 2, 4, 5)], ids=str
)
def test_what_does_not_count_upwards_is_no_new_sequence(numbers: tuple[int, ...]) -> None:
    store = current()
    assert set(verdicts(store, *map(new, numbers))) == {"stale"}
    assert (store.state, store.sequence) == (CURRENT, 7)


def test_an_increment_that_follows_ends_the_count() -> None:
    store = current()
    assert verdicts(store, new(1), new(2), inc(8), new(3), new(4)) == ["stale", "stale", "send", "stale", "stale"]
    assert verdicts(store, new(5)) == ["restarted"]


@pytest.mark.parametrize("repeated", [3, REPEATS_REMEMBERED])
def test_what_a_publisher_repeats_is_no_new_sequence(repeated: int) -> None:
    """After it lost its connection, because it does not know whether they had arrived."""
    store = current()
    last = 7 + 2 * REPEATS_REMEMBERED
    for number in range(8, last + 1):
        assert store.increment(inc(number)) is Verdict.SEND
    again = [inc(number) for number in range(last - repeated + 1, last + 1)]
    assert verdicts(store, *again) == ["stale"] * repeated
    store.doubt()
    assert verdicts(store, *again, inc(last + 1)) == ["stale"] * repeated + ["confirmed"]
    assert verdicts(store, inc(last + 5)) == ["hole"]
    assert verdicts(store, *again) == ["stale"] * repeated, "in a broken book, too"


def test_increments_that_a_snapshot_has_overtaken_are_no_new_sequence() -> None:
    store = current()
    store.increment(inc(8))
    store.snapshot(book(20))
    assert verdicts(store, *map(inc, range(9, 21))) == ["stale"] * 12
    assert store.increment(inc(21)) is Verdict.RESTORED


def test_a_second_engine_that_starts_again_without_a_snapshot_is_noticed_too() -> None:
    store = current()
    for first in (1, 5):
        assert verdicts(store, *map(new, range(first, first + 3)))[-1] in ("restarted", "pass_on")
    store.snapshot(book(30))
    assert verdicts(store, new(1), new(2), new(3)) == ["stale", "stale", "restarted"]


# ---- other shapes


def test_another_shape_is_kept_as_it_came() -> None:
    store = other()
    for body in (b"[4]", b' {"a" : 1}', inc(8), inc(8)):
        assert store.increment(body) is Verdict.SEND
    assert store.first_frames() == snaps(b"[1, 2]", b"[4]", b' {"a" : 1}', inc(8), inc(8))
    assert (store.sequence, store.export()) == (None, None)
    assert not store.snapshot(b"[3]")
    assert store.first_frames() == snaps(b"[3]")


def test_frames_once_given_out_do_not_change() -> None:
    store = other()
    frames = store.first_frames()
    store.increment(b"[4]")
    assert frames == snaps(b"[1, 2]")


def test_a_sequence_alone_is_no_snapshot_of_a_book() -> None:
    store = Store()
    store.snapshot(b'{ "sequence":5}')
    assert store.first_frames() == snaps(b'{ "sequence":5}')


def test_a_book_that_gets_another_shapes_increment_is_its_rendering_and_that() -> None:
    store = current()
    store.increment(inc(8))
    assert store.increment(b"[4]") is Verdict.SEND
    assert store.increment(inc(9)) is Verdict.SEND
    assert store.first_frames() == snaps(book(8), b"[4]", inc(9))
    store.snapshot(SNAPSHOT)
    assert store.first_frames() == snaps(SNAPSHOT)
    assert store.sequence == 7


def test_a_thousand_increments_are_kept_and_no_more() -> None:
    store = other()
    for _ in range(INCREMENTS_KEPT):
        assert store.increment(b"[4]") is Verdict.SEND
    assert len(store.first_frames()) == 1 + INCREMENTS_KEPT
    assert store.increment(b"[4]") is Verdict.PASS_ON, "those served have missed nothing"
    assert store.state is BROKEN
    assert not store.adopt(SNAPSHOT, fresh=True)
    assert store.increment(b"[4]") is Verdict.PASS_ON
    assert store.snapshot(b"[1]")


# ---- another worker's book


def after(*heard: int | None, doubt: bool = False) -> Store:
    """An empty store that has heard these increments; None is a lost connection."""
    store = Store()
    for number in heard:
        if number is None:
            store.doubt()
        else:
            assert store.increment(inc(number)) is Verdict.HELD
    return store


@pytest.mark.parametrize(
    ("heard", "start", "fresh", "state", "sequence"),
    [
        ((), 9, True, CURRENT, 9),
        ((), 9, False, UNCONFIRMED, 9),
        ((10, 11), 9, True, CURRENT, 11),
        ((10, 11), 9, False, CURRENT, 11),
        ((10, 11), 10, False, CURRENT, 11),
        ((10, 11), 11, False, CURRENT, 11),
        ((10, 10, 11, 10, 11), 9, False, CURRENT, 11),
        # Further than what was heard: the rest is still to come, or it is of another time.
        ((10, 11), 12, True, CURRENT, 12),
        ((10, 11), 12, False, UNCONFIRMED, 12),
        # A hole between the book and what was heard, or in it.
        ((10, 11), 8, True, EMPTY, None),
        ((10, 12), 9, True, EMPTY, None),
        ((10, 12), 10, True, EMPTY, None),
        ((10, 12), 11, False, CURRENT, 12),
        # What was heard before a doubt shows nothing missing, but not that nothing is.
        ((10, None), 9, False, UNCONFIRMED, 10),
        ((10, None), 9, True, CURRENT, 10),
        ((10, None, 11), 9, False, CURRENT, 11),
        ((10, None, 12), 9, True, EMPTY, None),
        ((10, None, 10), 10, False, UNCONFIRMED, 10),
        ((None,), 9, True, CURRENT, 9),
    ],
)
def test_a_book_is_adopted_with_what_was_heard_on_top(
    heard: tuple[int | None, ...], start: int, fresh: bool, state: State, sequence: int | None
) -> None:
    store = after(*heard)
    assert store.adopt(book(start), fresh) == (state is CURRENT)
    assert (store.state, store.sequence) == (state, sequence)
    if sequence is not None:
        verdict = store.increment(inc(sequence + 1))
        assert verdict is (Verdict.SEND if state is CURRENT else Verdict.RESTORED)
        assert store.export() == book(sequence + 1)


@pytest.mark.parametrize(
    "body",
    [UNNUMBERED, b"[1,2,3]", b'{"sequence":9}', b'{"asks":5,"sequence":9}', b"", b"{", b"\xff", b"[" * 50_000],
    ids="{!r:.20}".format,
)
@EVERY_STATE
def test_what_is_no_numbered_book_is_not_adopted(make: Make, body: bytes) -> None:
    store = make()
    before = (store.state, store.sequence, store.first_frames())
    assert not store.adopt(body, fresh=True)
    assert (store.state, store.sequence, store.first_frames()) == before


@pytest.mark.parametrize(
    ("make", "start", "fresh", "state", "sequence"),
    [
        (current, 9, True, CURRENT, 7),
        (unnumbered, 9, True, CURRENT, None),
        (other, 9, True, CURRENT, None),
        (unconfirmed, 6, True, UNCONFIRMED, 7),
        (unconfirmed, 7, True, CURRENT, 7),
        (unconfirmed, 7, False, UNCONFIRMED, 7),
        (unconfirmed, 9, True, CURRENT, 9),
        (unconfirmed, 9, False, UNCONFIRMED, 9),
        (adopted, 6, True, UNCONFIRMED, 7),
        (adopted, 9, True, CURRENT, 9),
        (broken, 7, True, BROKEN, 7),
        (broken, 8, True, CURRENT, 9),
        (broken, 8, False, CURRENT, 9),
        (broken, 9, False, CURRENT, 9),
        (doubted, 9, True, CURRENT, 9),
        (doubted, 9, False, UNCONFIRMED, 9),
    ],
)
def test_a_store_adopts_nothing_that_is_older_than_what_it_has(
    make: Make, start: int, fresh: bool, state: State, sequence: int | None
) -> None:
    store = make()
    before = store.state
    assert store.adopt(book(start), fresh) == (state is CURRENT and before is not CURRENT)
    assert (store.state, store.sequence) == (state, sequence)


def test_those_served_before_an_unconfirmed_book_moved_on_are_served_anew() -> None:
    store = unconfirmed()
    store.adopt(SNAPSHOT, fresh=False)
    assert store.increment(inc(8)) is Verdict.CONFIRMED, "the same book again"
    store = unconfirmed()
    store.adopt(book(9), fresh=False)
    assert store.increment(inc(9)) is Verdict.STALE
    assert store.increment(inc(10)) is Verdict.RESTORED
    assert store.increment(inc(11)) is Verdict.SEND


@pytest.mark.parametrize("body", [b"[4]", b'{"asks":["1","1"]}'])
def test_what_was_heard_without_a_number_has_no_place_on_another_workers_book(body: bytes) -> None:
    store = after(10)
    store.increment(body)
    store.increment(inc(11))
    assert not store.adopt(book(10), fresh=True)
    store.snapshot(SNAPSHOT)
    store.increment(inc(9))
    assert store.adopt(book(8), fresh=True), "a snapshot is a new beginning"


def test_only_so_many_increments_are_remembered() -> None:
    store = after(*range(1, INCREMENTS_REMEMBERED + 2))
    assert not store.adopt(book(0), fresh=True)
    assert store.adopt(book(1), fresh=True)
    assert store.sequence == INCREMENTS_REMEMBERED + 1


def test_an_exported_book_is_adopted_digit_for_digit() -> None:
    body = b'{"asks":[["1.50",2],[3.10,"0.10"]],"bids":[[1,1]],"sequence":"0010"}'
    store, another = Store(), Store()
    store.snapshot(body)
    exported = store.export()
    assert exported == body
    assert another.adopt(exported, fresh=True)
    assert another.export() == body


# ---- against a publisher, with everything that can go wrong on the way

CHANGES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=3)
LAG = st.integers(0, 3)
FIRST = 1_000_000


class Subscriber:
    """One client: what it was sent, and whether it knows that something is missing."""

    def __init__(self) -> None:
        self.sequence = -1
        self.book: dict[Decimal, Decimal] = {}
        self.waiting, self.knows_hole = True, False

    def take_book(self, frames: list[Frame]) -> None:
        [(kind, body)] = frames
        assert kind == "snap"
        read = json.loads(body)
        self.book = {Decimal(price): Decimal(volume) for price, volume in read["asks"]}
        assert list(self.book) == sorted(self.book)
        self.sequence, self.waiting, self.knows_hole = read["sequence"], False, False

    def take_increment(self, body: bytes) -> None:
        read = json.loads(body)
        self.knows_hole = self.knows_hole or read["sequence"] != self.sequence + 1
        self.sequence = read["sequence"]
        for price, volume in read["asks"]:
            self.book[Decimal(price)] = Decimal(volume)
        self.book = {price: volume for price, volume in self.book.items() if volume}


class World(RuleBasedStateMachine):
    """A publisher that numbers its increments, a store that misses some, and the subscribers that it tells what."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.subscribers: list[Subscriber] = []
        self.snapshot_came_last = False
        self.lives = 0
        self.begin(FIRST, {})

    def begin(self, sequence: int, book: dict[Decimal, Decimal]) -> None:
        self.now = sequence
        self.books = {sequence: book}
        self.sent: dict[int, bytes] = {}

    def body(self, sequence: int) -> bytes:
        rows = [[str(price), str(volume)] for price, volume in self.books[sequence].items()]
        return json.dumps({"asks": rows, "bids": [], "sequence": sequence}).encode()

    def publish(self, changes: list[tuple[int, int]]) -> bytes:
        book = dict(self.books[self.now])
        for price, volume in changes:
            book[Decimal(price)] = Decimal(volume)
        self.now += 1
        self.books[self.now] = {price: volume for price, volume in book.items() if volume}
        rows = [[str(price), str(volume)] for price, volume in changes]
        self.sent[self.now] = json.dumps({"asks": rows, "sequence": self.now}).encode()
        return self.sent[self.now]

    def earlier(self, lag: int) -> int:
        return max(self.now - lag, min(self.books))

    def serve(self, subscribers: list[Subscriber]) -> None:
        frames = self.store.first_frames()
        for subscriber in subscribers:
            subscriber.take_book(frames)

    def hear(self, body: bytes) -> None:
        """What the caller of a store does with an increment."""
        verdict = self.store.increment(body)
        self.snapshot_came_last = self.snapshot_came_last and verdict is Verdict.STALE
        served = [subscriber for subscriber in self.subscribers if not subscriber.waiting]
        if verdict.passes_on:
            for subscriber in served:
                subscriber.take_increment(body)
        if verdict in (Verdict.SEND, Verdict.CONFIRMED):
            assert not any(subscriber.knows_hole for subscriber in served), "a hole nobody was told of"
        if verdict is Verdict.CONFIRMED:
            self.serve([subscriber for subscriber in self.subscribers if subscriber.waiting])
        if verdict is Verdict.RESTORED:
            self.serve(self.subscribers)

    @rule(changes=CHANGES)
    def increment_arrives(self, changes: list[tuple[int, int]]) -> None:
        self.hear(self.publish(changes))

    @rule(changes=CHANGES)
    def increment_is_lost(self, changes: list[tuple[int, int]]) -> None:
        self.publish(changes)

    @precondition(lambda self: self.sent)
    @rule(lag=LAG)
    def increment_is_repeated(self, lag: int) -> None:
        self.hear(self.sent[max(self.now - lag, min(self.sent))])

    @rule(lag=LAG)
    def snapshot_arrives(self, lag: int) -> None:
        is_first = not self.store.current
        assert self.store.snapshot(self.body(self.earlier(lag))) == is_first
        if is_first:
            self.serve(self.subscribers)
        self.snapshot_came_last = not is_first

    @rule(direction=st.sampled_from([-1000, 1000]))
    def publisher_starts_again(self, direction: int) -> None:
        self.lives += 1
        # Never near a number that was there before: nobody could tell the two apart.
        self.begin(FIRST + direction * self.lives, {Decimal(9): Decimal(9)})
        self.snapshot_arrives(0)

    @rule(lost=st.lists(CHANGES, max_size=2))
    def connection_is_lost(self, lost: list[list[tuple[int, int]]]) -> None:
        for changes in lost:
            self.publish(changes)
        self.store.doubt()

    @rule(lag=LAG, fresh=st.booleans())
    def another_worker_exports(self, lag: int, fresh: bool) -> None:
        another = Store()
        another.snapshot(self.body(self.earlier(lag)))
        exported = another.export()
        assert exported is not None
        before = (self.store.current, self.store.first_frames())
        if self.store.adopt(exported, fresh):
            self.serve(self.subscribers)
            self.snapshot_came_last = False
        else:
            assert (self.store.current, self.store.first_frames()) == before

    @rule()
    def subscriber_comes(self) -> None:
        subscriber = Subscriber()
        if self.store.current:
            subscriber.take_book(self.store.first_frames())
        self.subscribers.append(subscriber)

    @invariant()
    def what_is_served_is_the_publishers_book(self) -> None:
        if self.store.current:
            newcomer = Subscriber()
            newcomer.take_book(self.store.first_frames())
            assert newcomer.sequence == self.store.sequence
            assert newcomer.book == self.books[newcomer.sequence]

    @invariant()
    def those_served_have_the_publishers_book_or_know_that_they_have_not(self) -> None:
        for subscriber in self.subscribers:
            if self.store.current:
                assert not subscriber.waiting
                assert not subscriber.knows_hole
            # A snapshot goes into the store only: whether those served are behind it shows at the next increment.
            if not subscriber.waiting and not subscriber.knows_hole and not self.snapshot_came_last:
                assert subscriber.book == self.books.get(subscriber.sequence, subscriber.book)
                assert not self.store.current or subscriber.sequence == self.store.sequence


World.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestWorld = World.TestCase


# ---- what comes of nonsense

VALUES = st.recursive(
    st.none() | st.integers(-2, 12) | st.floats() | st.sampled_from(["1.0", "0", "7", "x", "1e999999999", "9" * 300]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["asks", "bids", "sequence", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
BOOKS = st.fixed_dictionaries(
    {"asks": st.sampled_from([[], ["1", "2"], [["1.0", "0"], [2, 3]]])}, optional={"sequence": st.integers(0, 4)}
)
BODIES = (VALUES | BOOKS).map(lambda value: json.dumps(value).encode())
ACTIONS = st.tuples(st.sampled_from(["snapshot", "increment", "adopt", "adopt fresh", "doubt"]), BODIES)


@given(st.lists(ACTIONS, max_size=20))
def test_no_body_raises_at_any_time(actions: list[tuple[str, bytes]]) -> None:
    store = Store()
    for action, body in actions:
        was_current = store.current
        if action == "snapshot":
            assert store.snapshot(body) != was_current
        elif action == "increment":
            assert store.increment(body) in Verdict
        elif action == "doubt":
            store.doubt()
        else:
            assert store.adopt(body, action == "adopt fresh") == (store.current and not was_current)
        frames: list[Any] = store.first_frames()
        assert store.current == bool(frames)
        assert [kind for kind, _ in frames] == ["snap", *["inc"] * (len(frames) - 1)][: len(frames)]
        for _, frame in frames:
            json.loads(frame)
        assert store.export() is None or frames == [("snap", store.export())]
