"""Marks of trades streams: where one means anything, the events after it are exactly those that the client lacks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws.routing.trade_history import (
    MOST_EVENTS,
    MOST_SECONDS,
    OVERHEAD_BYTES,
    WINDOW,
    TradeHistory,
)

STREAM = "btcusd.trades"


def trade(number: int) -> bytes:
    return b'{"trades":[{"tid":%d}]}' % number


def history(bodies: Iterable[bytes], stream: str = STREAM, now: float = 0.0) -> TradeHistory:
    made = TradeHistory(stream)
    for body in bodies:
        made.add(body, now)
    return made


def mark_after(bodies: Iterable[bytes], stream: str = STREAM) -> str:
    return history(bodies, stream).mark()


def missed(made: TradeHistory, mark: str, now: float = 0.0) -> list[bytes] | None:
    events = made.since(mark, now)
    return None if events is None else [event.body for event in events]


def test_mark_is_the_same_wherever_the_last_events_are_the_same() -> None:
    early, late = history(map(trade, range(50))), history(map(trade, range(50 - WINDOW, 50)))
    assert early.mark() == late.mark() != ""
    assert len(early.mark()) == 16
    assert early.mark() != mark_after(map(trade, range(51)))


def test_events_after_a_mark_are_those_that_followed() -> None:
    mark = mark_after(map(trade, range(20)))
    assert missed(history(map(trade, range(15, 40))), mark) is None, "it has not seen all events of the mark"
    assert missed(history(map(trade, range(20 - WINDOW, 40))), mark) == [trade(number) for number in range(20, 40)]
    assert missed(history(map(trade, range(20))), mark) == [], "nothing was missed"
    assert missed(history(map(trade, range(19))), mark) is None, "it has not received the last one yet"


def test_mark_needs_enough_events_and_different_bodies() -> None:
    assert history([]).mark() == ""
    assert mark_after(map(trade, range(WINDOW - 1))) == ""
    assert mark_after([b"[]"] * WINDOW) == ""
    assert mark_after([trade(number % 3) for number in range(WINDOW)]) == ""
    assert mark_after([trade(number % 4) for number in range(WINDOW)]) != ""
    assert missed(history(map(trade, range(20))), "") is None


@pytest.mark.parametrize("mark", ["", "A" * 16, "A", "nonsense", "\ud800"])
def test_invented_mark_means_nothing(mark: str) -> None:
    assert missed(history(map(trade, range(20))), mark) is None


def test_mark_of_another_stream_means_nothing() -> None:
    bodies = [trade(number) for number in range(20)]
    assert missed(history(bodies), mark_after(bodies, "ethusd.trades")) is None


def test_mark_that_occurs_twice_means_nothing() -> None:
    bodies = [trade(number) for number in range(WINDOW)]
    mark = mark_after(bodies)
    assert missed(history([*bodies, b"1", *bodies, b"2"]), mark) is None
    assert missed(history([*bodies, *bodies[:3]]), mark) == bodies[:3], "an event may repeat"


def test_other_order_of_two_publishers_means_nothing() -> None:
    here = [trade(number) for number in range(20)]
    there = list(here)
    there[-1], there[-2] = there[-2], there[-1]
    assert missed(history([*there, trade(20)]), mark_after(here)) is None
    displaced = [trade(20), *here[-WINDOW + 1 :]]
    assert missed(history([*here[: 20 - WINDOW + 1], *displaced]), mark_after(here)) is None, "20 would be lost"


def test_at_most_so_many_events_can_be_missed() -> None:
    made, mark = history(map(trade, range(WINDOW))), mark_after(map(trade, range(WINDOW)))
    for number in range(MOST_EVENTS):
        made.add(trade(WINDOW + number), 0.0)
    events = missed(made, mark)
    assert events is not None
    assert len(events) == MOST_EVENTS
    made.add(b"one more", 0.0)
    assert missed(made, mark) is None


def test_missed_events_are_not_too_old_however_old_the_mark_is() -> None:
    made, mark = history(map(trade, range(WINDOW))), mark_after(map(trade, range(WINDOW)))
    assert missed(made, mark, 1e6) == [], "nothing happened meanwhile"
    made.add(b"1", 1e6)
    made.add(b"2", 1e6 + 10)
    assert missed(made, mark, 1e6 + MOST_SECONDS) == [b"1", b"2"]
    assert missed(made, mark, 1e6 + MOST_SECONDS + 1) is None


def test_old_events_take_no_memory() -> None:
    made = history(map(trade, range(60)))
    made.add(b"new", MOST_SECONDS + 1)
    kept = [*(trade(number) for number in range(60 - WINDOW, 60)), b"new"]
    assert made.size == sum(len(body) + OVERHEAD_BYTES for body in kept)
    assert missed(made, mark_after(map(trade, range(60))), MOST_SECONDS + 1) == [b"new"]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 12), max_size=60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 2**32),
)
def test_client_misses_nothing_and_receives_nothing_twice(bodies: list[int], left: int, start: int, seed: int) -> None:
    """Whatever repeats: a client of one worker goes on at another one, which began at another event."""
    chance = random.Random(seed)
    published = [trade(number) for number in bodies]
    mark = mark_after(published[:left])
    here = TradeHistory(STREAM)
    for body in published[start:]:
        here.add(body, 0.0)
        if chance.random() < 0.3:
            here.make_marks()  # others need marks now and then
    events = missed(here, mark)
    if events is not None:
        received = [*published[:left], *events]
        assert received == published or is_repetition(published, received)


def is_repetition(published: list[bytes], received: list[bytes]) -> bool:
    """Return whether the events lacking are a repetition of the last events of a mark, as they were received."""
    lacking = len(published) - len(received)
    return lacking > 0 and any(
        received == published[:place] + published[place + lacking :]
        and published[place - WINDOW : place] == published[place + lacking - WINDOW : place + lacking]
        for place in itertools.chain(range(WINDOW, len(published) - lacking + 1))
    )
