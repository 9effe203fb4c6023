"""Streams of trades with marks: what is kept of them, and that others do not notice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peatio_ws.routing import marked_streams
from peatio_ws.routing.marked_streams import LARGEST_BODY
from peatio_ws.routing.trade_history import WINDOW
from tests.unit.routing.test_channels import Reader, Worker
from tests.unit.samples import texts_in

STREAM = "btcusd.trades"


def follower(worker: Worker, name: str = STREAM) -> Reader:
    reader = Reader()
    worker.channels.follow(reader.outbox, name)
    return reader


def publish(worker: Worker, numbers: range, name: str = STREAM) -> None:
    for number in numbers:
        worker.publish(name, {"tid": number})


def numbers(frames: list[Any], name: str = STREAM) -> list[int]:
    return [frame[name]["tid"] for frame in frames]


def missed(worker: Worker, mark: str, name: str = STREAM) -> list[int] | None:
    frames = worker.channels.marked.since(name, mark, 10_000)
    return None if frames is None else numbers(texts_in(b"".join(frames)), name)


def test_events_have_marks_once_there_are_enough_of_them() -> None:
    worker = Worker()
    ann = follower(worker)
    publish(worker, range(WINDOW + 2))
    events = ann.received()
    assert numbers(events) == list(range(WINDOW + 2))
    assert [len(event) for event in events] == [1] * (WINDOW - 1) + [2] * 3
    marks = [event["mark"] for event in events[-3:]]
    assert marks[-1] == worker.channels.marked.mark(STREAM)
    assert [missed(worker, mark) for mark in marks] == [[WINDOW, WINDOW + 1], [WINDOW + 1], []]
    assert worker.channels.marked.since(STREAM, marks[0], len(b'{"tid": 9}')) is None, "they would be too much"
    assert worker.channels.marked.since(STREAM, marks[1], len(b'{"tid": 9}'))[0] == text_of(events[-1])  # type: ignore[index]


def text_of(event: Any) -> bytes:
    text = json.dumps(event, separators=(",", ":")).replace('"tid":', '"tid": ').encode()
    return bytes([0x81, len(text)]) + text


def test_other_subscribers_receive_the_same_bytes_as_ever() -> None:
    worker = Worker()
    ann, bob = follower(worker), worker.reader(STREAM)
    for _ in range(WINDOW + 1):
        assert worker.publish(STREAM, b'{ "z":1.0 }')
    bob.outbox.flush()
    assert bob.wire.taken == b'\x81\x1d{"btcusd.trades":{ "z":1.0 }}' * (WINDOW + 1)
    assert ann.received() == [{STREAM: {"z": 1.0}}] * (WINDOW + 1), "equal bodies have no mark"


def test_client_that_had_a_stream_receives_it_once_with_marks() -> None:
    worker = Worker()
    ann = worker.reader(STREAM)
    worker.channels.follow(ann.outbox, STREAM)
    worker.channels.follow(ann.outbox, STREAM)
    assert worker.channels.subscriptions() == {"public": 1}
    publish(worker, range(2))
    assert numbers(ann.received()) == [0, 1]
    assert (len(worker.channels), worker.channels.names(), worker.channels.holds(STREAM)) == (1, 1, True)
    worker.channels.unsubscribe(ann.outbox, STREAM)
    worker.channels.unsubscribe(ann.outbox, STREAM)
    publish(worker, range(2))
    assert ann.received() == []
    assert worker.channels.subscriptions() == {"public": 0}
    assert (len(worker.channels), worker.channels.names(), worker.channels.holds(STREAM)) == (0, 0, False)


def test_history_begins_with_the_first_event_of_a_subscriber_and_goes_on_without() -> None:
    worker = Worker()
    marked = worker.channels.marked
    publish(worker, range(3))
    worker.publish("btcusd.tickers", 1)
    assert not marked.has_history(STREAM), "nobody needs it, and the worker may not receive all of it"
    bob = worker.reader(STREAM)
    assert not marked.has_history(STREAM), "nobody has published anything: names of clients take no memory"
    publish(worker, range(3, 3 + WINDOW))
    worker.channels.unsubscribe(bob.outbox, STREAM)
    mark = marked.mark(STREAM)
    assert not worker.publish(STREAM, {"tid": 99})
    assert missed(worker, mark) == [99]
    marked.forget(STREAM)
    marked.forget(STREAM)
    assert (marked.has_history(STREAM), marked.mark(STREAM), marked.size) == (False, "", 0)
    assert marked.since(STREAM, mark, 10_000) is None
    publish(worker, range(3))
    assert not marked.has_history(STREAM)


def test_gap_is_reported_to_followers_only() -> None:
    worker = Worker()
    ann, bob, eve = follower(worker), worker.reader(STREAM), follower(worker, "ethusd.trades")
    publish(worker, range(WINDOW))
    mark = ann.received()[-1]["mark"]
    worker.channels.marked.on_gap()
    assert worker.flushed == 1
    assert ann.received() == [{"complete": {STREAM: False}}]
    assert eve.received() == [{"complete": {"ethusd.trades": False}}]
    assert numbers(bob.received()) == list(range(WINDOW))
    assert missed(worker, mark) is None
    publish(worker, range(WINDOW, WINDOW + 1))
    assert ann.received() == [{STREAM: {"tid": WINDOW}}], "without a mark"


def test_large_event_ends_the_history_before_it() -> None:
    worker = Worker()
    ann = follower(worker)
    publish(worker, range(WINDOW))
    large = b'"' + b"x" * LARGEST_BODY + b'"'
    assert worker.publish(STREAM, large)
    assert ann.received()[-1] == {STREAM: "x" * LARGEST_BODY}
    assert not worker.channels.marked.has_history(STREAM)
    publish(worker, range(1))
    assert ann.received() == [{STREAM: {"tid": 0}}]


def test_streams_that_were_quiet_for_longest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    names = [f"m{number}.trades" for number in range(4)]
    for name in names:
        worker.reader(name)
        publish(worker, range(WINDOW), name)
    monkeypatch.setattr(marked_streams, "MOST_BYTES", worker.channels.marked.size)
    publish(worker, range(1), names[0])
    assert [worker.channels.marked.has_history(name) for name in names] == [True, False, True, True]
    before = worker.channels.marked.size
    publish(worker, range(1), names[2])
    assert [worker.channels.marked.has_history(name) for name in names] == [True, False, True, True]
    assert before < worker.channels.marked.size <= marked_streams.MOST_BYTES


def test_marks_can_be_made_ahead() -> None:
    worker = Worker()
    worker.reader(STREAM)
    publish(worker, range(WINDOW))
    worker.channels.marked.prepare(STREAM)
    worker.channels.marked.prepare("ethusd.trades")
    assert worker.channels.marked.mark(STREAM)
