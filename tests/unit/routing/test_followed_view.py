"""What a view sends next: the newest state once, or the changes that continue the book which its followers have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peatio_ws.orderbook.sync import BookSync
from peatio_ws.protocol.view_names import view_of
from peatio_ws.routing import followed_view
from peatio_ws.routing.followed_view import FRESH_SECONDS, ChangesView, LatestEvent, LatestView, TopView
from tests.unit.samples import texts_in

CHANGES, TOP, LATEST = "admin.a.ob-inc@250ms", "admin.a.ob-top@1", "global.tickers@250ms"


def view(name: str, source: Any) -> Any:
    found = view_of(name)
    assert found is not None
    kind = {CHANGES: ChangesView, TOP: TopView, LATEST: LatestView}[name]
    return kind(name, found, source)


def text(frame: bytes | None) -> Any:
    return None if frame is None else texts_in(frame)[0]


@pytest.fixture
def sync() -> BookSync:
    sync = BookSync()
    sync.snapshot(b'{"asks":[["3","1"],["2","1"]],"bids":[["1","1"]],"sequence":5}')
    return sync


def change(sync: BookSync, followed: ChangesView, number: int, price: str = "2", volume: str = "2") -> None:
    sync.increment(json.dumps({"asks": [[price, volume]], "sequence": number}).encode())
    assert sync.change is not None
    followed.add(sync.change)


def test_latest_event_is_sent_once_and_again_to_who_missed_it() -> None:
    latest = LatestEvent()
    followed = view(LATEST, latest)
    assert followed.first() is None
    assert followed.take() == (None, None)
    latest.body, latest.at = b"1", float("inf")
    news, catch_up = followed.take()
    assert text(news) == text(catch_up) == {"global.tickers@250ms": 1}
    assert followed.take() == (None, news)
    assert followed.first() == news


def test_an_event_that_repeats_the_one_before_is_sent_too() -> None:
    latest = LatestEvent()
    latest.body = b'{"a":1}'
    followed = view(LATEST, latest)
    assert followed.take()[0]
    latest.body = bytes(bytearray(b'{"a":1}'))  # the same bytes in another object
    assert followed.take()[0]
    assert not followed.take()[0]


def test_an_old_event_is_not_sent_to_new_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    latest, followed = LatestEvent(), None
    latest.body, latest.at = b"1", 1000.0
    followed = view(LATEST, latest)
    monkeypatch.setattr(followed_view.time, "monotonic", lambda: 1000.0 + FRESH_SECONDS + 1)
    assert followed.first() is None
    monkeypatch.setattr(followed_view.time, "monotonic", lambda: 1000.0 + FRESH_SECONDS)
    assert text(followed.first()) == {"global.tickers@250ms": 1}


def test_best_levels_are_sent_if_they_changed(sync: BookSync) -> None:
    followed = view(TOP, sync)
    best = {"asks": [["2", "1"]], "bids": [["1", "1"]], "sequence": 5}
    assert text(followed.first()) == {"a.ob-top@1": best}
    sync.mark_stale()
    assert followed.first() is None, "the book may not be right"
    assert followed.take()[0] is None
    assert followed.waits_for_book()
    sync.increment(b'{"asks":[["3","9"]],"sequence":6}')
    assert text(followed.take()[0]) == {"a.ob-top@1": best | {"sequence": 6}}
    assert not followed.waits_for_book()


def test_changes_continue_the_book_that_followers_have(sync: BookSync) -> None:
    followed = view(CHANGES, sync)
    first = followed.first()
    assert text(first) == {"a.ob-snap": {"asks": [["2", "1"], ["3", "1"]], "bids": [["1", "1"]], "sequence": 5}}
    assert followed.take() == (None, None)
    change(sync, followed, 6)
    change(sync, followed, 7, "2", "0")
    assert followed.first() == first, "the frame to come continues this one for new followers too"
    news, catch_up = followed.take()
    inc = {"asks": [["2", "0"]], "bids": [], "sequence": 7, "previous": 5}
    assert (text(news), catch_up) == ({"a.ob-inc@250ms": inc}, None)
    assert text(followed.first())["a.ob-snap"]["sequence"] == 7
    assert followed.take() == (None, None)


def test_who_missed_frames_receives_the_book_again(sync: BookSync) -> None:
    followed = view(CHANGES, sync)
    followed.first()
    followed.late[object()] = None
    change(sync, followed, 6)
    news, catch_up = followed.take()
    assert text(news)["a.ob-inc@250ms"]["previous"] == 5
    assert text(catch_up)["a.ob-snap"]["sequence"] == 6


def test_after_a_hole_there_is_nothing_until_there_is_a_book(sync: BookSync) -> None:
    followed = view(CHANGES, sync)
    followed.first()
    sync.increment(b'{"asks":[["3","9"]],"sequence":9}')
    followed.forget()
    assert (followed.first(), followed.take()) == (None, (None, None))
    sync.snapshot(b'{"asks":[["3","9"]],"bids":[],"sequence":9}')
    news, catch_up = followed.take()
    assert text(news) == text(catch_up) == {"a.ob-snap": {"asks": [["3", "9"]], "bids": [], "sequence": 9}}


def test_too_many_changes_become_a_book(sync: BookSync, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed_view, "MOST_CHANGES", 2)
    followed = view(CHANGES, sync)
    followed.first()
    for number in range(6, 9):
        change(sync, followed, number)
    assert text(followed.take()[0])["a.ob-snap"]["sequence"] == 8
