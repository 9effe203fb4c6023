"""Keys are bound when the first needs them, and unbound some time after the last."""

from __future__ import annotations

import time

import gevent
import pytest

from peatio_ws import demand
from peatio_ws.demand import LINGER_SECONDS, Demand
from tests.unit.samples import Channel


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def needed(channel: Channel) -> Demand:
    made = Demand("topic")
    made.attach(channel, "q")
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(demand.time, "monotonic", lambda: now[0])
    return now


def test_who_needs_a_key_waits_until_it_is_bound_and_the_next_does_not(needed: Demand, channel: Channel) -> None:
    first, second = gevent.spawn(needed.take, ["a", "b"]), gevent.spawn(needed.take, ["b"])
    gevent.idle()
    assert channel.said == [("bind", "a"), ("bind", "b")]
    channel.answer()
    gevent.idle()
    assert not first.ready()
    assert not second.ready(), "it waits for the answer to what another asked for"
    channel.answer()
    gevent.joinall([first, second], timeout=1, raise_error=True)
    needed.take(["a"])
    assert len(channel.said) == 2


def test_a_key_is_unbound_some_time_after_the_last(needed: Demand, channel: Channel, clock: list[float]) -> None:
    needed.detach()
    for _ in range(2):
        needed.take(["a"])
    needed.attach(channel, "q")
    needed.give(["a"])
    clock[0] += 2 * LINGER_SECONDS
    needed.sweep(clock[0])
    assert needed.keys == {"a"}
    needed.give(["a"])
    needed.sweep(clock[0] + LINGER_SECONDS / 2)
    needed.take(["a"])
    needed.sweep(clock[0] + 2 * LINGER_SECONDS)
    assert needed.keys == {"a"}, "somebody came back"
    needed.give(["a"])
    needed.sweep(clock[0] + 2 * LINGER_SECONDS)
    assert needed.keys == set()
    assert channel.said == [("bind again", "a"), ("unbind", "a")]


def test_nobody_waits_for_a_broker_that_is_away(needed: Demand, channel: Channel) -> None:
    waits = gevent.spawn(needed.take, ["a"])
    gevent.idle()
    needed.detach()
    waits.get(timeout=1)
    needed.take(["b"])
    again = Channel()
    needed.attach(again, "q2")
    assert again.said == [("bind again", "a"), ("bind again", "b")]
    again.broken = True
    needed.take(["c"])
    needed.give(["a", "b", "c"])
    assert needed.keys == {"a", "b", "c"}


def test_who_is_interrupted_gives_back_what_it_took(
    needed: Demand, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "send_method", lambda *_: gevent.sleep(60))  # the broker takes nothing
    with gevent.Timeout(0.01, False):
        needed.take(["a", "b"])
    needed.give(["a", "b"])
    needed.sweep(time.monotonic() + 2 * LINGER_SECONDS)
    assert needed.keys == set()
