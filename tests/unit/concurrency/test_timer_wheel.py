"""One timer calls for everything that is due, in the order of time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import gevent
import gevent.event
import pytest

from peatio_ws.concurrency import timer_wheel
from peatio_ws.concurrency.timer_wheel import TimerWheel


class Collected:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.called = gevent.event.Event()
        self.wheel: TimerWheel[str] = TimerWheel(self.on_due)

    def on_due(self, items: list[str]) -> None:
        self.calls.append(items)
        self.called.set()

    def wait(self, calls: int) -> None:
        with gevent.Timeout(30):
            while len(self.calls) < calls:
                self.called.clear()
                self.called.wait()


def test_an_earlier_item_is_not_held_up_by_a_later_one() -> None:
    collected, now = Collected(), time.monotonic()
    collected.wheel.add(now + 3600, "late")
    collected.wheel.add(now + 0.01, "early")
    collected.wait(1)
    assert collected.calls == [["early"]]
    assert len(collected.wheel) == 1


def test_what_is_due_together_comes_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer_wheel, "TOGETHER", 10.0)
    collected, now = Collected(), time.monotonic()
    for after, item in ((0.2, "third"), (0.1, "first"), (0.1, "second")):
        collected.wheel.add(now + after, item)
    collected.wait(1)
    assert collected.calls == [["first", "second", "third"]]
    assert len(collected.wheel) == 0


def test_what_was_due_in_the_past_comes_at_once_and_items_can_be_added_meanwhile() -> None:
    collected = Collected()

    def again(items: list[str]) -> None:
        collected.on_due(items)
        if items == ["first"]:
            collected.wheel.add(0.0, "second")

    collected.wheel = TimerWheel(again)
    collected.wheel.add(0.0, "first")
    collected.wait(2)
    assert collected.calls == [["first"], ["second"]]


def test_an_error_does_not_stop_the_wheel(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    collected, now = Collected(), [100.0]
    monkeypatch.setattr(timer_wheel, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def fails_once(items: list[str]) -> None:
        if items == ["bad"]:
            now[0] += 0.05
            raise ValueError(items)
        collected.on_due(items)

    collected.wheel = TimerWheel(fails_once)
    collected.wheel.add(now[0], "bad")
    collected.wheel.add(now[0] + 0.05, "good")
    collected.wait(1)
    assert collected.calls == [["good"]]
    assert "ValueError" in capfd.readouterr().err
