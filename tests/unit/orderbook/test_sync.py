"""New subscribers receive the publisher's book or nothing; earlier ones are notified of every gap."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peatio_ws.orderbook.restarts import REPEATS_REMEMBERED
from peatio_ws.orderbook.sync import (
    INCREMENTS_KEPT,
    INCREMENTS_REMEMBERED,
    BookState,
    BookSync,
    Frame,
    SyncResult,
)

SNAPSHOT = b'{"asks":[["15.0","21.7"]],"bids":[["10.95","21.7"]],"sequence":7}'
UNNUMBERED = b'{"asks":[["15.0","21.7"]],"bids":[]}'


def inc(sequence: int) -> bytes:
    return b'{"asks":["16.0","%d"],"sequence":%d}' % (sequence, sequence)


def book(sequence: int) -> bytes:
    """Return the body of `SNAPSHOT` and the increments up to this one. Any sequence is allowed, as in a worker's
    export."""
    asks = b',["16.0","%d"]' % sequence if sequence > 7 else b""
    return b'{"asks":[["15.0","21.7"]%b],"bids":[["10.95","21.7"]],"sequence":%d}' % (asks, sequence)


def snaps(*bodies: bytes) -> list[Frame]:
    """Return bodies as a snapshot and increments."""
    return [("inc" if number else "snap", body) for number, body in enumerate(bodies)]


# ---- stores in every state

Make = Callable[[], BookSync]


def empty() -> BookSync:
    return BookSync()


def current() -> BookSync:
    sync = BookSync()
    assert sync.snapshot(SNAPSHOT)
    return sync


def unnumbered() -> BookSync:
    sync = BookSync()
    assert sync.snapshot(UNNUMBERED)
    return sync


def other() -> BookSync:
    sync = BookSync()
    assert sync.snapshot(b"[1, 2]")
    return sync


def out_of_step() -> BookSync:
    """The book reached 7 by a snapshot; its subscribers are at 5."""
    sync = BookSync()
    sync.snapshot(book(5))
    assert not sync.snapshot(SNAPSHOT)
    return sync


def unconfirmed() -> BookSync:
    sync = current()
    sync.mark_stale()
    return sync


def adopted() -> BookSync:
    """A book from another worker, which was not sent to any subscriber."""
    sync = BookSync()
    assert not sync.adopt(SNAPSHOT, fresh=False)
    return sync


def broken() -> BookSync:
    """A book at 7 that missed 8."""
    sync = current()
    assert sync.increment(inc(9)) is SyncResult.HOLE
    return sync


def doubted() -> BookSync:
    """A book without a sequence, after the connection was lost."""
    sync = unnumbered()
    sync.mark_stale()
    return sync


EMPTY, CURRENT, UNCONFIRMED, BROKEN = BookState.EMPTY, BookState.CURRENT, BookState.UNCONFIRMED, BookState.BROKEN
INCREMENTS = {"next": inc(8), "last": inc(7), "far": inc(10), "bare": b'{"asks":["16.0","1"]}', "odd": b"[4]"}
TABLE: dict[Make, tuple[BookState, dict[str, tuple[SyncResult, BookState]]]] = {
    empty: (EMPTY, dict.fromkeys(INCREMENTS, (SyncResult.HELD, EMPTY))),
    current: (
        CURRENT,
        {
            "next": (SyncResult.SEND, CURRENT),
            "last": (SyncResult.STALE, CURRENT),
            "far": (SyncResult.HOLE, BROKEN),
            "bare": (SyncResult.SEND, CURRENT),
            "odd": (SyncResult.SEND, CURRENT),
        },
    ),
    unnumbered: (CURRENT, dict.fromkeys(INCREMENTS, (SyncResult.SEND, CURRENT))),
    other: (CURRENT, dict.fromkeys(INCREMENTS, (SyncResult.SEND, CURRENT))),
    out_of_step: (
        CURRENT,
        {
            "next": (SyncResult.RESTORED, CURRENT),
            "last": (SyncResult.STALE, CURRENT),
            "far": (SyncResult.HOLE, BROKEN),
            "bare": (SyncResult.RESTORED, CURRENT),
            "odd": (SyncResult.RESTORED, CURRENT),
        },
    ),
    unconfirmed: (
        UNCONFIRMED,
        {
            "next": (SyncResult.CONFIRMED, CURRENT),
            "last": (SyncResult.STALE, UNCONFIRMED),
            "far": (SyncResult.HOLE, BROKEN),
            "bare": (SyncResult.HOLE, BROKEN),
            "odd": (SyncResult.HOLE, BROKEN),
        },
    ),
    adopted: (
        UNCONFIRMED,
        {
            "next": (SyncResult.RESTORED, CURRENT),
            "last": (SyncResult.STALE, UNCONFIRMED),
            "far": (SyncResult.HOLE, BROKEN),
            "bare": (SyncResult.HOLE, BROKEN),
            "odd": (SyncResult.HOLE, BROKEN),
        },
    ),
    broken: (
        BROKEN,
        {
            "next": (SyncResult.STALE, BROKEN),
            "last": (SyncResult.STALE, BROKEN),
            "far": (SyncResult.PASS_ON, BROKEN),
            "bare": (SyncResult.PASS_ON, BROKEN),
            "odd": (SyncResult.PASS_ON, BROKEN),
        },
    ),
    doubted: (BROKEN, dict.fromkeys(INCREMENTS, (SyncResult.PASS_ON, BROKEN))),
}
EVERY_STATE = pytest.mark.parametrize("make", TABLE, ids=lambda make: make.__name__)


@pytest.mark.parametrize("name", INCREMENTS)
@EVERY_STATE
def test_verdict_of_every_increment_in_every_state(make: Make, name: str) -> None:
    before, verdicts = TABLE[make]
    sync = make()
    assert sync.state is before
    assert (sync.increment(INCREMENTS[name]), sync.state) == verdicts[name]


@EVERY_STATE
def test_only_a_current_book_is_served(make: Make) -> None:
    sync = make()
    assert sync.current == (sync.state is CURRENT) == bool(sync.first_frames())
    assert sync.current or sync.export() is None


@pytest.mark.parametrize("body", [SNAPSHOT, UNNUMBERED, b"[1]"])
@EVERY_STATE
def test_snapshot_makes_any_book_current_and_serves_waiting_clients(make: Make, body: bytes) -> None:
    sync = make()
    before = sync.state
    assert sync.snapshot(body) == (before is not CURRENT)
    assert sync.current
    assert sync.first_frames()[0][0] == "snap"


@EVERY_STATE
def test_no_book_is_current_after_mark_stale(make: Make) -> None:
    sync = make()
    numbered = sync.sequence is not None
    before = sync.state
    sync.mark_stale()
    expected = (UNCONFIRMED if numbered else BROKEN) if before is CURRENT else before
    assert sync.state is expected


def test_increments_are_passed_on_to_subscribers_or_not() -> None:
    passed_on = {result for result in SyncResult if result.passes_on}
    assert passed_on == {
        SyncResult.SEND,
        SyncResult.CONFIRMED,
        SyncResult.HOLE,
        SyncResult.RESTARTED,
        SyncResult.PASS_ON,
    }


# ---- books


def test_increments_keep_a_book_up_to_date() -> None:
    sync = current()
    assert sync.increment(b'{"asks":["15.00","22.5"],"sequence":8}') is SyncResult.SEND
    assert sync.increment(b'{"bids":[["10.95","0"],["11.00","3.0"]],"sequence":"9"}') is SyncResult.SEND
    rendered = b'{"asks":[["15.00","22.5"]],"bids":[["11.00","3.0"]],"sequence":"9"}'
    assert sync.first_frames() == [("snap", rendered)]
    assert (sync.sequence, sync.export()) == (9, rendered)


def test_book_is_rendered_once_between_two_changes() -> None:
    sync = current()
    frames = sync.first_frames()
    assert sync.first_frames() is frames
    sync.increment(inc(7))
    assert sync.first_frames() is frames
    sync.increment(inc(8))
    assert sync.first_frames() == [("snap", book(8))]
    assert frames == [("snap", book(7))]


def test_a_sequence_is_compared_exactly_however_long() -> None:
    sync = BookSync()
    start = 10**40
    sync.snapshot(book(start))
    assert sync.increment(inc(start + 2)) is SyncResult.HOLE
    sync.snapshot(book(start))
    assert sync.increment(inc(start + 1)) is SyncResult.SEND
    assert sync.first_frames() == [("snap", book(start + 1))]


def test_a_publisher_may_start_again_from_0() -> None:
    sync = current()
    assert not sync.snapshot(book(0))
    assert sync.increment(inc(1)) is SyncResult.RESTORED, "the subscribers are at 7"
    assert sync.increment(inc(2)) is SyncResult.SEND


def test_repeated_snapshot_is_not_sent_to_subscribers() -> None:
    sync = current()
    sync.increment(inc(8))
    assert not sync.snapshot(b'{"asks":[],"sequence":8}')
    assert sync.increment(b'{"sequence":9}') is SyncResult.SEND
    assert sync.first_frames() == [("snap", b'{"asks":[],"bids":[],"sequence":9}')]


def test_unnumbered_snapshots_between_increments_are_accepted() -> None:
    sync = current()
    assert not sync.snapshot(UNNUMBERED)
    assert (sync.sequence, sync.export()) == (None, None)
    assert sync.increment(inc(8)) is SyncResult.SEND
    assert sync.sequence == 8
    assert sync.increment(inc(10)) is SyncResult.HOLE


def test_increment_without_a_sequence_removes_the_books_sequence() -> None:
    sync = current()
    sync.increment(b'{"asks":["15.0","0"]}')
    assert sync.first_frames() == [("snap", b'{"asks":[],"bids":[["10.95","21.7"]]}')]
    assert (sync.sequence, sync.export()) == (None, None)


def test_gap_is_reported_once() -> None:
    sync = current()
    verdicts = [sync.increment(inc(number)) for number in (9, 10, 12, 12, 13)]
    assert [result.value for result in verdicts] == ["hole", "pass_on", "pass_on", "stale", "pass_on"]
    sync.snapshot(book(20))
    assert sync.increment(inc(22)) is SyncResult.HOLE


def test_confirmed_stale_book_is_not_sent_again() -> None:
    sync = current()
    sync.mark_stale()
    sync.mark_stale()
    assert (sync.first_frames(), sync.sequence) == ([], 7)
    assert sync.increment(inc(8)) is SyncResult.CONFIRMED
    assert sync.increment(inc(9)) is SyncResult.SEND
    assert sync.first_frames() == [("snap", book(9))]


def test_stale_book_with_lagging_subscribers_is_sent_to_all_again() -> None:
    sync = out_of_step()
    sync.mark_stale()
    assert sync.increment(inc(8)) is SyncResult.RESTORED


def test_next_snapshot_brings_lagging_subscribers_up_to_date() -> None:
    sync = out_of_step()
    sync.increment(inc(9))
    assert sync.snapshot(book(9))
    assert sync.increment(inc(10)) is SyncResult.SEND


# ---- restarted sequences

NUMBERED = [current, out_of_step, unconfirmed, adopted, broken]


def new(sequence: int) -> bytes:
    """Return an increment of a restarted engine, which differs from the old engine's increment of this number."""
    return b'{"bids":["9.0","%d"],"sequence":%d}' % (sequence, sequence)


def verdicts(sync: BookSync, *bodies: bytes) -> list[str]:
    return [sync.increment(body).value for body in bodies]


@pytest.mark.parametrize("make", NUMBERED)
def test_three_rising_lower_numbers_are_a_new_sequence(make: Make) -> None:
    sync = make()
    assert verdicts(sync, *map(new, range(1, 7))) == ["stale", "stale", "restarted", "pass_on", "pass_on", "pass_on"]
    assert (sync.state, sync.sequence, sync.first_frames(), sync.export()) == (BROKEN, None, [], None)
    for start in (2, 7, 9):
        assert not sync.adopt(book(start), fresh=True), (
            "a single lower number may be a late increment of the old engine"
        )
    assert sync.snapshot(book(6))
    assert verdicts(sync, new(7), new(8)) == ["send", "send"]


def test_restarted_sequence_before_the_first_book_drops_the_buffer() -> None:
    sync = after(100, 101)
    assert [sync.increment(new(number)) for number in (1, 2, 3, 4)][:2] == [SyncResult.HELD] * 2
    assert sync.state is EMPTY
    assert not sync.adopt(book(99), fresh=True)
    assert sync.snapshot(book(4))


@pytest.mark.parametrize(
    "numbers", [(1, 1, 1, 1), (1, 2, 1, 2, 1), (3, 2, 1), (1, 3, 5), (5, 5, 6, 6), (1, 2, 4, 5)], ids=str
)
def test_numbers_that_do_not_rise_are_not_a_new_sequence(numbers: tuple[int, ...]) -> None:
    sync = current()
    assert set(verdicts(sync, *map(new, numbers))) == {"stale"}
    assert (sync.state, sync.sequence) == (CURRENT, 7)


def test_expected_increment_resets_the_count() -> None:
    sync = current()
    assert verdicts(sync, new(1), new(2), inc(8), new(3), new(4)) == ["stale", "stale", "send", "stale", "stale"]
    assert verdicts(sync, new(5)) == ["restarted"]


@pytest.mark.parametrize("repeated", [3, REPEATS_REMEMBERED])
def test_repeated_increments_are_not_a_new_sequence(repeated: int) -> None:
    """A publisher repeats increments after a lost connection, not knowing whether they have arrived."""
    sync = current()
    last = 7 + 2 * REPEATS_REMEMBERED
    for number in range(8, last + 1):
        assert sync.increment(inc(number)) is SyncResult.SEND
    again = [inc(number) for number in range(last - repeated + 1, last + 1)]
    assert verdicts(sync, *again) == ["stale"] * repeated
    sync.mark_stale()
    assert verdicts(sync, *again, inc(last + 1)) == ["stale"] * repeated + ["confirmed"]
    assert verdicts(sync, inc(last + 5)) == ["hole"]
    assert verdicts(sync, *again) == ["stale"] * repeated, (
        "repeated increments of a broken book are not a new sequence either"
    )


def test_increments_older_than_a_snapshot_are_not_a_new_sequence() -> None:
    sync = current()
    sync.increment(inc(8))
    sync.snapshot(book(20))
    assert verdicts(sync, *map(inc, range(9, 21))) == ["stale"] * 12
    assert sync.increment(inc(21)) is SyncResult.RESTORED


def test_second_restart_without_a_snapshot_is_noticed() -> None:
    sync = current()
    for first in (1, 5):
        assert verdicts(sync, *map(new, range(first, first + 3)))[-1] in ("restarted", "pass_on")
    sync.snapshot(book(30))
    assert verdicts(sync, new(1), new(2), new(3)) == ["stale", "stale", "restarted"]


# ---- other forms of messages


def test_snapshot_of_another_form_is_kept_unchanged() -> None:
    sync = other()
    for body in (b"[4]", b' {"a" : 1}', inc(8), inc(8)):
        assert sync.increment(body) is SyncResult.SEND
    assert sync.first_frames() == snaps(b"[1, 2]", b"[4]", b' {"a" : 1}', inc(8), inc(8))
    assert (sync.sequence, sync.export()) == (None, None)
    assert not sync.snapshot(b"[3]")
    assert sync.first_frames() == snaps(b"[3]")


def test_returned_frames_do_not_change() -> None:
    sync = other()
    frames = sync.first_frames()
    sync.increment(b"[4]")
    assert frames == snaps(b"[1, 2]")


def test_sequence_alone_is_not_a_snapshot() -> None:
    sync = BookSync()
    sync.snapshot(b'{ "sequence":5}')
    assert sync.first_frames() == snaps(b'{ "sequence":5}')


def test_increment_of_another_form_follows_the_rendered_book() -> None:
    sync = current()
    sync.increment(inc(8))
    assert sync.increment(b"[4]") is SyncResult.SEND
    assert sync.increment(inc(9)) is SyncResult.SEND
    assert sync.first_frames() == snaps(book(8), b"[4]", inc(9))
    sync.snapshot(SNAPSHOT)
    assert sync.first_frames() == snaps(SNAPSHOT)
    assert sync.sequence == 7


def test_up_to_a_thousand_increments_are_kept() -> None:
    sync = other()
    for _ in range(INCREMENTS_KEPT):
        assert sync.increment(b"[4]") is SyncResult.SEND
    assert len(sync.first_frames()) == 1 + INCREMENTS_KEPT
    assert sync.increment(b"[4]") is SyncResult.PASS_ON, "the subscribers have missed nothing"
    assert sync.state is BROKEN
    assert not sync.adopt(SNAPSHOT, fresh=True)
    assert sync.increment(b"[4]") is SyncResult.PASS_ON
    assert sync.snapshot(b"[1]")


# ---- another worker's book


def after(*heard: int | None, mark_stale: bool = False) -> BookSync:
    """Return an empty store that has received these increments. None stands for a lost connection."""
    sync = BookSync()
    for number in heard:
        if number is None:
            sync.mark_stale()
        else:
            assert sync.increment(inc(number)) is SyncResult.HELD
    return sync


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
        # The book is ahead of the received increments: the rest may follow, or the book is from another time.
        ((10, 11), 12, True, CURRENT, 12),
        ((10, 11), 12, False, UNCONFIRMED, 12),
        # There is a gap between the book and the received increments, or among them.
        ((10, 11), 8, True, EMPTY, None),
        ((10, 12), 9, True, EMPTY, None),
        ((10, 12), 10, True, EMPTY, None),
        ((10, 12), 11, False, CURRENT, 12),
        # Increments received before a lost connection show no gap, but do not prove that there is none.
        ((10, None), 9, False, UNCONFIRMED, 10),
        ((10, None), 9, True, CURRENT, 10),
        ((10, None, 11), 9, False, CURRENT, 11),
        ((10, None, 12), 9, True, EMPTY, None),
        ((10, None, 10), 10, False, UNCONFIRMED, 10),
        ((None,), 9, True, CURRENT, 9),
    ],
)
def test_book_is_adopted_with_buffered_increments_on_top(
    heard: tuple[int | None, ...], start: int, fresh: bool, state: BookState, sequence: int | None
) -> None:
    sync = after(*heard)
    assert sync.adopt(book(start), fresh) == (state is CURRENT)
    assert (sync.state, sync.sequence) == (state, sequence)
    if sequence is not None:
        result = sync.increment(inc(sequence + 1))
        assert result is (SyncResult.SEND if state is CURRENT else SyncResult.RESTORED)
        assert sync.export() == book(sequence + 1)


@pytest.mark.parametrize(
    "body",
    [UNNUMBERED, b"[1,2,3]", b'{"sequence":9}', b'{"asks":5,"sequence":9}', b"", b"{", b"\xff", b"[" * 50_000],
    ids="{!r:.20}".format,
)
@EVERY_STATE
def test_book_without_a_sequence_is_not_adopted(make: Make, body: bytes) -> None:
    sync = make()
    before = (sync.state, sync.sequence, sync.first_frames())
    assert not sync.adopt(body, fresh=True)
    assert (sync.state, sync.sequence, sync.first_frames()) == before


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
def test_older_book_is_not_adopted(make: Make, start: int, fresh: bool, state: BookState, sequence: int | None) -> None:
    sync = make()
    before = sync.state
    assert sync.adopt(book(start), fresh) == (state is CURRENT and before is not CURRENT)
    assert (sync.state, sync.sequence) == (state, sequence)


def test_earlier_subscribers_are_served_again_after_unconfirmed_changes() -> None:
    sync = unconfirmed()
    sync.adopt(SNAPSHOT, fresh=False)
    assert sync.increment(inc(8)) is SyncResult.CONFIRMED, "the subscribers need the same book again"
    sync = unconfirmed()
    sync.adopt(book(9), fresh=False)
    assert sync.increment(inc(9)) is SyncResult.STALE
    assert sync.increment(inc(10)) is SyncResult.RESTORED
    assert sync.increment(inc(11)) is SyncResult.SEND


@pytest.mark.parametrize("body", [b"[4]", b'{"asks":["1","1"]}'])
def test_unnumbered_increments_prevent_adopting_a_book(body: bytes) -> None:
    sync = after(10)
    sync.increment(body)
    sync.increment(inc(11))
    assert not sync.adopt(book(10), fresh=True)
    sync.snapshot(SNAPSHOT)
    sync.increment(inc(9))
    assert sync.adopt(book(8), fresh=True), "a snapshot allows adopting again"


def test_remembered_increments_are_limited() -> None:
    sync = after(*range(1, INCREMENTS_REMEMBERED + 2))
    assert not sync.adopt(book(0), fresh=True)
    assert sync.adopt(book(1), fresh=True)
    assert sync.sequence == INCREMENTS_REMEMBERED + 1


def test_a_worker_that_lags_behind_an_adopted_book_repeats_nothing() -> None:
    """A new worker gets a book before its own queue brings the increments that the book contains."""
    sync = BookSync()
    assert sync.adopt(book(500), fresh=True)
    assert [sync.increment(inc(number)) for number in range(495, 501)] == [SyncResult.STALE] * 6
    assert sync.increment(inc(501)) is SyncResult.SEND


def test_an_exported_book_is_adopted_digit_for_digit() -> None:
    body = b'{"asks":[["1.50",2],[3.10,"0.10"]],"bids":[[1,1]],"sequence":"0010"}'
    sync, another = BookSync(), BookSync()
    sync.snapshot(body)
    exported = sync.export()
    assert exported == body
    assert another.adopt(exported, fresh=True)
    assert another.export() == body


# ---- a publisher, a store and subscribers, with all kinds of failures

CHANGES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=3)
LAG = st.integers(0, 3)
FIRST = 1_000_000


class Subscriber:
    """A client: the frames it received, and whether it knows that something is missing."""

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
    """A publisher that numbers its increments, a store that misses some, and the store's subscribers."""

    def __init__(self) -> None:
        super().__init__()
        self.sync = BookSync()
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
        frames = self.sync.first_frames()
        for subscriber in subscribers:
            subscriber.take_book(frames)

    def receive(self, body: bytes) -> None:
        """Handle an increment as the caller of a store does."""
        result = self.sync.increment(body)
        self.snapshot_came_last = self.snapshot_came_last and result is SyncResult.STALE
        served = [subscriber for subscriber in self.subscribers if not subscriber.waiting]
        if result.passes_on:
            for subscriber in served:
                subscriber.take_increment(body)
        if result in (SyncResult.SEND, SyncResult.CONFIRMED):
            assert not any(subscriber.knows_hole for subscriber in served), "a gap was not reported"
        if result is SyncResult.CONFIRMED:
            self.serve([subscriber for subscriber in self.subscribers if subscriber.waiting])
        if result is SyncResult.RESTORED:
            self.serve(self.subscribers)

    @rule(changes=CHANGES)
    def increment_arrives(self, changes: list[tuple[int, int]]) -> None:
        self.receive(self.publish(changes))

    @rule(changes=CHANGES)
    def increment_is_lost(self, changes: list[tuple[int, int]]) -> None:
        self.publish(changes)

    @precondition(lambda self: self.sent)
    @rule(lag=LAG)
    def increment_is_repeated(self, lag: int) -> None:
        self.receive(self.sent[max(self.now - lag, min(self.sent))])

    @rule(lag=LAG)
    def snapshot_arrives(self, lag: int) -> None:
        is_first = not self.sync.current
        assert self.sync.snapshot(self.body(self.earlier(lag))) == is_first
        if is_first:
            self.serve(self.subscribers)
        self.snapshot_came_last = not is_first

    @rule(direction=st.sampled_from([-1000, 1000]))
    def publisher_starts_again(self, direction: int) -> None:
        self.lives += 1
        # Not near an earlier number: the two could not be distinguished.
        self.begin(FIRST + direction * self.lives, {Decimal(9): Decimal(9)})
        self.snapshot_arrives(0)

    @rule(lost=st.lists(CHANGES, max_size=2))
    def connection_is_lost(self, lost: list[list[tuple[int, int]]]) -> None:
        for changes in lost:
            self.publish(changes)
        self.sync.mark_stale()

    @rule(lag=LAG, fresh=st.booleans())
    def another_worker_exports(self, lag: int, fresh: bool) -> None:
        another = BookSync()
        another.snapshot(self.body(self.earlier(lag)))
        exported = another.export()
        assert exported is not None
        before = (self.sync.current, self.sync.first_frames())
        if self.sync.adopt(exported, fresh):
            self.serve(self.subscribers)
            self.snapshot_came_last = False
        else:
            assert (self.sync.current, self.sync.first_frames()) == before

    @rule()
    def subscriber_joins(self) -> None:
        subscriber = Subscriber()
        if self.sync.current:
            subscriber.take_book(self.sync.first_frames())
        self.subscribers.append(subscriber)

    @invariant()
    def new_subscribers_receive_the_publishers_book(self) -> None:
        if self.sync.current:
            late = Subscriber()
            late.take_book(self.sync.first_frames())
            assert late.sequence == self.sync.sequence
            assert late.book == self.books[late.sequence]

    @invariant()
    def subscribers_have_the_publishers_book_or_know_of_a_gap(self) -> None:
        for subscriber in self.subscribers:
            if self.sync.current:
                assert not subscriber.waiting
                assert not subscriber.knows_hole
            # A snapshot only changes the store. Whether subscribers are behind it shows at the next increment.
            if not subscriber.waiting and not subscriber.knows_hole and not self.snapshot_came_last:
                assert subscriber.book == self.books.get(subscriber.sequence, subscriber.book)
                assert not self.sync.current or subscriber.sequence == self.sync.sequence


World.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestWorld = World.TestCase


# ---- any input

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
def test_no_body_raises_in_any_state(actions: list[tuple[str, bytes]]) -> None:
    sync = BookSync()
    for action, body in actions:
        was_current = sync.current
        if action == "snapshot":
            assert sync.snapshot(body) != was_current
        elif action == "increment":
            assert sync.increment(body) in SyncResult
        elif action == "doubt":
            sync.mark_stale()
        else:
            assert sync.adopt(body, action == "adopt fresh") == (sync.current and not was_current)
        frames: list[Any] = sync.first_frames()
        assert sync.current == bool(frames)
        assert [kind for kind, _ in frames] == ["snap", *["inc"] * (len(frames) - 1)][: len(frames)]
        for _, frame in frames:
            json.loads(frame)
        assert sync.export() is None or frames == [("snap", sync.export())]
