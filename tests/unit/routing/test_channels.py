"""Public streams: subscribers receive every event, and of a book first all of it, then every change."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from collections.abc import Iterable
from types import FrameType, SimpleNamespace
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.orderbook.book import Book
from peatio_ws.routing import channels as feeds_module
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.transport.compression import Variants
from peatio_ws.transport.outbox import Outbox, put_all
from tests.unit.samples import Wire, texts_in

SNAPSHOT = {"asks": [["2.0", "1"]], "bids": [["1.0", "1"]], "sequence": 5}


class Reader:
    """A client with a separate socket."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.outbox = Outbox(self.wire, 2**30, 3600.0)  # type: ignore[arg-type]

    def received(self) -> list[Any]:
        self.outbox.flush()
        frames = texts_in(self.wire.taken)
        self.wire.taken = b""
        return frames


def put(frames: bytes | Variants, outboxes: Iterable[Outbox], _count: int = 1) -> None:
    put_all(frames, outboxes, [])


class Worker:
    def __init__(self, max_books: int = 100) -> None:
        self.troubles: list[tuple[str, str]] = []
        self.flushed = 0
        batch: Any = SimpleNamespace(put=put, flush=self.flush)
        self.channels = PublicChannels(batch, max_books, lambda what, stream: self.troubles.append((what, stream)))

    def flush(self) -> None:
        self.flushed += 1

    def publish(self, name: str, body: object) -> bool:
        return self.channels.publish(name, body if isinstance(body, bytes) else json.dumps(body).encode())

    def reader(self, *names: str) -> Reader:
        reader = Reader()
        for name in names:
            self.channels.subscribe(reader.outbox, name)
        return reader


def test_a_stream_reaches_its_subscribers_byte_for_byte() -> None:
    worker = Worker()
    ann, bob = worker.reader("a.trades"), worker.reader("b.trades")
    body = b'{ "z":1.0, "a":12345678901234567890 }'
    assert worker.publish("a.trades", body)
    assert not worker.publish("c.trades", body)
    ann.outbox.flush()
    assert ann.wire.taken[2:] == b'{"a.trades":' + body + b"}"
    assert bob.received() == []


def test_prefixed_stream_is_sent_without_prefix_to_its_subscribers() -> None:
    worker = Worker()
    boss, public = worker.reader("admin.a.sys"), worker.reader("a.sys")
    worker.publish("admin.a.sys", 1)
    assert (boss.received(), public.received()) == ([{"a.sys": 1}], [])
    worker.publish("a.sys", 2)
    assert (boss.received(), public.received()) == ([], [{"a.sys": 2}])


def test_prefixed_books_have_separate_stores() -> None:
    worker = Worker()
    worker.publish("admin.a.ob-snap", SNAPSHOT)
    assert worker.reader("a.ob-inc").received() == []
    assert worker.reader("admin.a.ob-inc").received() == [{"a.ob-snap": SNAPSHOT}]


def test_waiting_client_receives_the_first_book_only() -> None:
    worker = Worker()
    ann = worker.reader("a.ob-inc")
    assert not worker.publish("a.ob-inc", {"asks": ["3.0", "1"], "sequence": 5})
    assert worker.publish("a.ob-snap", SNAPSHOT)
    assert not worker.publish("a.ob-snap", SNAPSHOT)
    assert ann.received() == [{"a.ob-snap": SNAPSHOT}]
    assert worker.reader("a.ob-inc").received() == [{"a.ob-snap": SNAPSHOT}]


def test_snapshot_stream_sends_each_snapshot_unchanged() -> None:
    worker = Worker()
    ann = worker.reader("a.ob-snap")
    for _ in range(2):
        assert worker.publish("a.ob-snap", b' {"bids":[],"asks":[]}')
    assert ann.received() == [{"a.ob-snap": {"bids": [], "asks": []}}] * 2


def test_gap_is_reported_once_and_new_clients_wait() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    early = worker.reader("a.ob-inc")
    early.received()
    for sequence in (8, 9):
        worker.publish("a.ob-inc", {"asks": [], "sequence": sequence})
    late = worker.reader("a.ob-inc")
    assert worker.troubles == [("hole", "a.ob-inc")]
    assert [frame["a.ob-inc"]["sequence"] for frame in early.received()] == [8, 9]
    assert late.received() == []
    assert worker.channels.needs_book()
    worker.publish("a.ob-snap", {**SNAPSHOT, "sequence": 9})
    # Earlier subscribers have a gap in their book: a snapshot repairs it for all.
    assert early.received() == late.received() == [{"a.ob-snap": {**SNAPSHOT, "sequence": 9}}]
    assert not worker.channels.needs_book()


def test_restarted_sequence_reaches_followers_and_ends_the_old_book() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", {**SNAPSHOT, "sequence": 100})
    follower = worker.reader("a.ob-inc")
    follower.received()
    bodies = [{"asks": ["15.0", str(number)], "sequence": number} for number in range(1, 6)]
    for body in bodies[:4]:
        worker.publish("a.ob-inc", body)
    late = worker.reader("a.ob-inc")
    worker.publish("a.ob-inc", bodies[4])
    assert follower.received() == [{"a.ob-inc": body} for body in bodies[2:]], (
        "the third increment begins the new sequence"
    )
    assert (late.received(), worker.troubles, worker.channels.needs_book()) == ([], [("restart", "a.ob-inc")], True)
    new = {"asks": [["16.0", "1.0"]], "bids": [], "sequence": 5}
    worker.publish("a.ob-snap", new)
    assert follower.received() == late.received() == [{"a.ob-snap": new}]


def test_stale_book_is_served_again_once_the_next_change_confirms_it() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    early = worker.reader("a.ob-inc")
    early.received()
    worker.channels.mark_stale()
    late = worker.reader("a.ob-inc")
    assert late.received() == []
    worker.publish("a.ob-inc", {"asks": ["3.0", "1"], "sequence": 6})
    (change,), (book,) = early.received(), late.received()
    assert change == {"a.ob-inc": {"asks": ["3.0", "1"], "sequence": 6}}
    assert book["a.ob-snap"]["asks"] == [["2.0", "1"], ["3.0", "1"]]


def test_repeated_subscribe_sends_the_book_again_and_no_change_twice() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    ann, bob = worker.reader("a.ob-inc"), worker.reader("a.ob-inc")
    worker.publish("a.ob-inc", {"asks": [], "sequence": 6})
    assert [len(reader.received()) for reader in (ann, bob)] == [2, 2]
    worker.channels.subscribe(ann.outbox, "a.ob-inc")
    assert ann.received() == [{"a.ob-snap": {**SNAPSHOT, "sequence": 6}}]
    worker.publish("a.ob-inc", {"asks": [], "sequence": 7})
    assert ann.received() == bob.received() == [{"a.ob-inc": {"asks": [], "sequence": 7}}]
    assert worker.channels.subscriptions()["public"] == 2


@pytest.mark.parametrize("ends", ["confirmed", "snapshot", "adopted"])
def test_repeated_subscribe_receives_the_book_once_it_exists(ends: str) -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    ann = worker.reader("a.ob-inc")
    ann.received()
    worker.channels.mark_stale()
    worker.channels.subscribe(ann.outbox, "a.ob-inc")
    assert (ann.received(), worker.channels.subscriptions()["public"]) == ([], 1)
    new = {"asks": [], "bids": [["1.0", "1"]], "sequence": 6}
    if ends == "confirmed":
        worker.publish("a.ob-inc", {"asks": ["2.0", "0"], "sequence": 6})
    elif ends == "snapshot":
        worker.publish("a.ob-snap", new)
    else:
        worker.channels.adopt("a.ob", json.dumps(new).encode(), True)
    changes = [{"a.ob-inc": {"asks": ["2.0", "0"], "sequence": 6}}] if ends == "confirmed" else []
    assert ann.received() == [*changes, {"a.ob-snap": new}]
    worker.publish("a.ob-inc", {"asks": [], "sequence": 7})
    assert ann.received() == [{"a.ob-inc": {"asks": [], "sequence": 7}}]
    worker.channels.unsubscribe(ann.outbox, "a.ob-inc")
    assert len(worker.channels) == 0


def test_adopted_book_is_sent_to_all_waiting_clients() -> None:
    there, here = Worker(), Worker()
    there.publish("a.ob-snap", SNAPSHOT)
    ann = here.reader("a.ob-inc")
    here.publish("a.ob-inc", {"asks": ["2.0", "0"], "sequence": 6})
    ((name, body),) = there.channels.export()
    assert here.channels.adopt(name, body, True)
    assert ann.received() == [{"a.ob-snap": {"asks": [], "bids": [["1.0", "1"]], "sequence": 6}}]
    assert here.flushed == 1, "the broker may be silent for long"
    assert here.channels.adopt(name, body, True)
    assert ann.received() == [], "the snapshot was sent again although it is not needed"


def test_book_older_than_buffered_increments_is_not_adopted() -> None:
    there, here = Worker(), Worker(max_books=1)
    there.publish("a.ob-snap", SNAPSHOT)
    there.publish("b.ob-snap", SNAPSHOT)
    here.publish("a.ob-inc", {"asks": [], "sequence": 7})
    late = here.reader("a.ob-inc", "b.ob-inc")
    (_, behind), (_, other) = there.channels.export()
    assert not here.channels.adopt("a.ob", behind, True)
    there.publish("a.ob-inc", {"asks": [], "sequence": 6})
    assert late.received() == []
    assert here.channels.adopt("b.ob", other, True), "the limit of books does not apply"
    assert here.channels.adopt("a.ob", next(body for name, body in there.channels.export() if name == "a.ob"), True)
    assert [frame["a.ob-snap"]["sequence"] for frame in late.received()] == [7]


def test_client_without_room_for_a_book_waits_and_misses_nothing() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    slow, quick, late = worker.reader("a.ob-inc"), worker.reader("a.ob-inc"), worker.reader("b.ob-inc")
    for reader in (slow, quick):
        reader.received()
    slow.outbox.size = late.outbox.size = slow.outbox.limit // 2 + 1
    worker.publish("a.ob-inc", {"asks": [], "sequence": 8})
    worker.publish("a.ob-snap", {**SNAPSHOT, "sequence": 8})
    worker.publish("b.ob-snap", SNAPSHOT)
    hole = {"a.ob-inc": {"asks": [], "sequence": 8}}
    assert quick.received() == [hole, {"a.ob-snap": {**SNAPSHOT, "sequence": 8}}]
    assert (slow.received(), late.received()) == ([hole], [])
    worker.channels.serve_waiting()
    assert (slow.received(), late.received()) == ([], [])
    slow.outbox.size = late.outbox.size = 0
    worker.publish("a.ob-inc", {"asks": [], "sequence": 9})
    worker.channels.serve_waiting()
    assert slow.received() == [{"a.ob-snap": {**SNAPSHOT, "sequence": 9}}]
    assert late.received() == [{"b.ob-snap": SNAPSHOT}]
    assert quick.received() == [{"a.ob-inc": {"asks": [], "sequence": 9}}]
    worker.publish("a.ob-inc", {"asks": [], "sequence": 10})
    assert len(slow.received()) == len(quick.received()) == 1


def test_waiting_books_are_sent_as_the_outbox_has_room() -> None:
    reader, taking = Reader(), False
    reader.wire._takes = lambda offered: offered if taking else 0
    outbox = reader.outbox
    outbox.limit = 2000
    batch: Any = SimpleNamespace(put=put, flush=outbox.flush)
    channels = PublicChannels(batch, 100, lambda _what, _stream: None)
    body = json.dumps({"asks": [[f"{number}.0", "1"] for number in range(100)], "bids": [], "sequence": 1}).encode()
    outbox.size = outbox.limit
    for letter in "abcdefgh":
        channels.subscribe(outbox, f"{letter}.ob-inc")
        channels.publish(f"{letter}.ob-snap", body)
    outbox.size = rounds = 0
    more = True
    while more:
        more = channels.serve_waiting()
        rounds += 1
        assert 0 < outbox.size <= outbox.limit, "more waits than the outbox may hold"
        taking = True
        with gevent.Timeout(30):
            while outbox.size:
                gevent.sleep(0)
        taking = False
    assert rounds > 1
    assert outbox.closing == 0


def test_books_that_one_batch_confirms_do_not_overflow_the_outbox() -> None:
    """Workers that start together adopt stored books. The next increments confirm them."""
    batch, reader = Batch(WorkerCounters()), Reader()
    reader.wire._takes = lambda _offered: 0
    reader.outbox.limit, names = 10_000, [f"m{number}" for number in range(20)]
    channels = PublicChannels(batch, 100, lambda _what, _stream: None)
    body = json.dumps({"asks": [[f"{number}.0", "1"] for number in range(100)], "bids": [], "sequence": 1}).encode()
    for name in names:
        channels.subscribe(reader.outbox, f"{name}.ob-inc")
        channels.adopt(f"{name}.ob", body, fresh=False)
    for name in names:
        channels.publish(f"{name}.ob-inc", b'{"asks":["1.0","2"],"sequence":2}')
    batch.flush()
    assert (reader.outbox.closing, reader.outbox.size > 0) == (0, True)
    reader.wire._takes = lambda offered: offered
    with gevent.Timeout(30):
        while channels.serve_waiting() or reader.outbox.size:
            gevent.sleep(0)
    assert {name for frame in texts_in(reader.wire.taken) for name in frame} == {f"{name}.ob-snap" for name in names}


def test_book_is_not_encoded_while_nobody_has_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered, render = list[Book](), Book.render
    monkeypatch.setattr(Book, "render", lambda book: rendered.append(book) or render(book))
    worker = Worker()
    slow = worker.reader("a.ob-inc")
    slow.outbox.size = slow.outbox.limit
    worker.publish("a.ob-snap", SNAPSHOT)
    for number in range(6, 9):
        worker.publish("a.ob-inc", {"asks": ["2.0", "2"], "sequence": number})
        worker.channels.serve_waiting()
    assert rendered == []
    slow.outbox.size = 0
    worker.channels.serve_waiting()
    assert (len(rendered), len(slow.received())) == (1, 1)


def test_requested_book_may_wait_however_large_it_is() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", {"asks": [[f"{number}.0", "1"] for number in range(1000)], "sequence": 1})
    early = worker.reader("b.ob-inc")
    early.outbox.limit = 1000
    worker.publish("b.ob-snap", {"asks": [[f"{number}.0", "1"] for number in range(1000)], "sequence": 1})
    late = Reader()
    late.outbox.limit = 1000
    worker.channels.subscribe(late.outbox, "a.ob-inc")
    for reader in (early, late):
        assert reader.outbox.limit > 30_000
    small = worker.reader("c.x")
    worker.publish("c.x", 1)
    assert small.outbox.limit == 2**30


def test_number_of_books_is_limited() -> None:
    worker = Worker(max_books=1)
    waiting = worker.reader("b.ob-inc")
    worker.publish("a.ob-snap", SNAPSHOT)
    for name in ("b.ob-snap", "b.ob-inc", "c.ob-inc"):
        assert not worker.publish(name, SNAPSHOT)
    assert worker.troubles == [("full", "b.ob"), ("full", "b.ob"), ("full", "c.ob")]
    assert waiting.received() == []
    assert worker.reader("a.ob-inc").received() == [{"a.ob-snap": SNAPSHOT}]


def test_clients_between_two_changes_receive_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    seen = set()
    monkeypatch.setattr(Outbox, "put", lambda _self, frames: seen.add(id(frames)))
    for _ in range(1000):
        worker.reader("a.ob-inc")
    assert len(seen) == 1


def test_closed_connection_leaves_nothing_behind() -> None:
    worker = Worker()
    names = ("a.trades", "a.ob-inc", "b.ob-inc", "a.ob-snap")
    worker.publish("b.ob-snap", SNAPSHOT)
    readers = [worker.reader(*names) for _ in range(3)]
    for reader in readers:
        for name in (*names, "never.there", "never.ob-inc"):
            worker.channels.unsubscribe(reader.outbox, name)
        reader.received()
    assert len(worker.channels) == 0
    for name in names:
        assert not worker.publish(name, SNAPSHOT)
    assert [reader.received() for reader in readers] == [[], [], []]


# ---- names invented by clients

NAMES = 1_000


def inventive(worker: Worker, suffix: str) -> list[str]:
    """Subscribe a client to unused names. Only its session holds references to them."""
    reader, names = Reader(), [f"m.{number}{suffix}" for number in range(NAMES)]
    for name in names:
        worker.channels.subscribe(reader.outbox, name)
    return names


@pytest.mark.parametrize("suffix", ["-inc", "-snap", ""])
def test_invented_name_costs_one_table_entry(suffix: str) -> None:
    worker = Worker()
    gc.collect()
    tracemalloc.start()
    try:
        names = inventive(worker, suffix)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    of_names = sum(map(sys.getsizeof, names)) + sys.getsizeof(names)
    assert (used - of_names) / NAMES < 150


def test_periodic_work_ignores_unpublished_names() -> None:
    worker = Worker()
    worker.publish("a.ob-snap", SNAPSHOT)
    channels = worker.channels

    def lines() -> int:
        """Return how many lines of the module run in one round of all periodic work."""
        count = 0

        def trace(frame: FrameType, _event: str, _argument: object) -> Any:
            nonlocal count
            count += frame.f_code.co_filename == feeds_module.__file__
            return trace

        sys.settrace(trace)
        try:
            list(channels.touched())
            channels.states()
            channels.subscriptions()
            channels.serve_waiting()
            channels.needs_book()
            channels.mark_stale()
            list(channels.export())
        finally:
            sys.settrace(None)
        return count

    lines()  # includes the first use of the book
    before = lines()
    inventive(worker, "-inc")
    inventive(worker, "-snap")
    assert lines() <= before + 5
    assert channels.subscriptions() == {"public": 2 * NAMES}


def test_clients_waiting_for_room_are_served_in_turn_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds_module, "SERVED_AT_ONCE", 3)
    worker = Worker()
    waiting = [worker.reader("a.ob-inc", "b.ob-inc") for _ in range(4)]
    for reader in waiting:
        reader.outbox.size = reader.outbox.limit // 2 + 1
    for name in ("a.ob-snap", "b.ob-snap"):
        worker.publish(name, SNAPSHOT)
    for _ in range(5):
        assert worker.channels.serve_waiting()
    for reader in waiting:
        reader.outbox.size = 0
    rounds = 1
    while worker.channels.serve_waiting():
        rounds += 1
    assert rounds == 3, "eight books are sent three at a time"
    assert [len(reader.received()) for reader in waiting] == [2] * 4


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["join", "leave", "publish"]), st.integers(0, 4))))
def test_subscriptions_are_counted_once(steps: list[tuple[int, str, int]]) -> None:
    worker, readers = Worker(), [Reader() for _ in range(3)]
    names = ["a.trades", "a.ob-inc", "admin.a.ob-inc", "a.ob-snap", "admin.a.sys"]
    have = set[tuple[int, str]]()
    for number, step, which in steps:
        name = names[which]
        if step == "join":
            worker.channels.subscribe(readers[number].outbox, name)
            have.add((number, name))
        elif step == "leave":
            worker.channels.unsubscribe(readers[number].outbox, name)
            have.discard((number, name))
        else:
            worker.publish(name.replace("-inc", "-snap"), SNAPSHOT)
    found = worker.channels.subscriptions()
    assert found["prefixed"] == sum(name.startswith("admin") for _, name in have)
    assert found["public"] == len(have) - found["prefixed"]
    assert len(worker.channels) == len({name for _, name in have})


# ---- against a model

STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "change", "change", "change", "snapshot"]), st.integers(0, 9)),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200)
def test_subscribers_get_the_publishers_book_and_consecutive_numbers(steps: list[tuple[str, int]]) -> None:
    worker, sequence = Worker(), 0
    book: dict[str, str] = {}
    readers: dict[Reader, dict[str, str] | None] = {}
    published = False
    for step, number in steps:
        if step == "join":
            readers[worker.reader("a.ob-inc")] = None
        elif step == "leave" and readers:
            gone = list(readers)[number % len(readers)]
            worker.channels.unsubscribe(gone.outbox, "a.ob-inc")
            del readers[gone]
        elif step == "change":
            sequence += 1
            level = [f"{number}.0", str(number % 3)]
            book[level[0]] = level[1]
            book = {price: volume for price, volume in book.items() if volume != "0"}
            worker.publish("a.ob-inc", {"asks": level, "sequence": sequence})
        elif step == "snapshot":
            published = True
            worker.publish("a.ob-snap", {"asks": [list(row) for row in book.items()], "sequence": sequence})
        for reader in readers:
            readers[reader] = follow(readers[reader], reader.received())
    for has in readers.values():
        assert has == ({**book, "sequence": str(sequence)} if published else None)


def follow(book: dict[str, str] | None, frames: list[Any]) -> dict[str, str] | None:
    """Read frames as a client does. Fails if a sequence is missing or repeated."""
    for frame in frames:
        if (whole := frame.get("a.ob-snap")) is not None:
            assert book is None
            book = {**dict(whole["asks"]), "sequence": str(whole["sequence"])}
        else:
            change = frame["a.ob-inc"]
            assert book is not None
            assert int(book["sequence"]) + 1 == change["sequence"]
            book |= {change["asks"][0]: change["asks"][1], "sequence": str(change["sequence"])}
            book = {price: volume for price, volume in book.items() if volume != "0" or price == "sequence"}
    return book
