"""The subscribers of a book: each has it, or waits for it or for room."""

from __future__ import annotations

import json

import pytest

from peatio_ws.routing.book_stream import BOOKS_OF_ROOM, BookStream
from tests.unit.routing.test_channels import SNAPSHOT, Reader

BOOK = [{"a.ob-snap": SNAPSHOT}]


@pytest.fixture
def stream() -> BookStream:
    return BookStream("a.ob")


def publish(stream: BookStream) -> None:
    stream.sync.snapshot(json.dumps(SNAPSHOT).encode())
    stream.changed()


def test_subscriber_of_a_published_book_receives_it_at_once(stream: BookStream) -> None:
    publish(stream)
    reader = Reader()
    assert stream.subscribe(reader.outbox) == 1
    assert reader.received() == BOOK
    assert (list(stream.served), list(stream.waiting)) == ([reader.outbox], [])


def test_subscriber_waits_for_a_book_that_there_is_not(stream: BookStream) -> None:
    reader = Reader()
    assert stream.subscribe(reader.outbox) == 0
    assert (list(stream.served), list(stream.waiting)) == ([], [reader.outbox])
    publish(stream)
    assert stream.serve(stream.waiting) == [reader.outbox]
    assert (list(stream.served), list(stream.waiting)) == ([reader.outbox], [])


def test_earlier_subscribers_wait_for_the_book() -> None:
    reader = Reader()
    stream = BookStream("a.ob", [reader.outbox])
    assert stream.has(reader.outbox)
    assert list(stream.waiting) == [reader.outbox]


def test_closed_client_is_sent_no_frame(stream: BookStream) -> None:
    publish(stream)
    reader = Reader()
    reader.outbox.close(1000)
    assert stream.subscribe(reader.outbox) == 0


def test_client_without_room_waits_behind_the_others_without_increments(stream: BookStream) -> None:
    publish(stream)
    full, other = Reader(), Reader()
    for reader in (full, other):
        stream.subscribe(reader.outbox)
    stream.waiting[other.outbox] = None
    full.outbox.size = full.outbox.limit // 2 + 1
    assert stream.serve([full.outbox]) == []
    assert list(stream.served) == [other.outbox]
    assert list(stream.waiting) == [other.outbox, full.outbox]


def test_outbox_has_room_for_several_books(stream: BookStream) -> None:
    publish(stream)
    small, large = Reader(), Reader()
    small.outbox.limit = 10
    limit = large.outbox.limit
    stream.subscribe(small.outbox)
    stream.serve([large.outbox])
    assert small.outbox.limit == BOOKS_OF_ROOM * len(stream.frames()[None])
    assert large.outbox.limit == limit


def test_subscriber_leaves_once(stream: BookStream) -> None:
    publish(stream)
    reader = Reader()
    stream.subscribe(reader.outbox)
    stream.waiting[reader.outbox] = None
    assert stream.unsubscribe(reader.outbox)
    assert not stream.has(reader.outbox)
    assert not stream.unsubscribe(reader.outbox)


def test_book_is_encoded_again_only_after_a_change(stream: BookStream) -> None:
    publish(stream)
    first = stream.frames()
    assert stream.frames() is first
    stream.sync.increment(b'{"asks":[["2.0","7"]],"bids":[],"sequence":6}')
    stream.changed()
    assert stream.frames() is not first
    assert b'"7"' in stream.frames()[None]
    assert stream.touched
