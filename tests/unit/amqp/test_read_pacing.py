"""When the loop that reads the broker lets others run, and when it waits for more to come."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from peatio_ws.amqp import read_pacing
from peatio_ws.amqp.read_pacing import BUSY_SECONDS, GATHER_SECONDS, ReadPacing


class Loop:
    """A loop whose time passes when the test says so; what it slept is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, list[float]()
        monkeypatch.setattr(read_pacing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(read_pacing.gevent, "sleep", self.sleep)
        self.transport = SimpleNamespace(rested=0.0, drained=True)
        self.pacing = ReadPacing()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def batch(self, waited: float, took: float, drained: bool) -> list[float]:
        """Read one after waiting so long, work on it so long; what was slept afterwards."""
        if waited:
            self.now += waited
            self.transport.rested = self.now
        self.now += took
        self.transport.drained = drained
        before = len(self.slept)
        self.pacing.pause(SimpleNamespace(transport=self.transport))
        return self.slept[before:]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_under_a_backlog_others_run_every_few_milliseconds(loop: Loop) -> None:
    since = 0.0
    for _ in range(100):
        since += 0.003
        if loop.batch(waited=0, took=0.003, drained=False):
            since = 0.0
        assert since <= BUSY_SECONDS + 0.003
    assert len(loop.slept) > 20
    assert max(loop.slept) < 0.001, "nothing is waited for while there is work"


def test_a_delivery_that_comes_alone_is_followed_by_no_pause(loop: Loop) -> None:
    for _ in range(10):
        assert loop.batch(waited=0.005, took=0.0002, drained=True) == []


def test_deliveries_that_come_close_together_are_given_time_to_gather(loop: Loop) -> None:
    loop.batch(waited=0.005, took=0.0002, drained=True)
    assert loop.batch(waited=GATHER_SECONDS / 2, took=0.0002, drained=True) == [GATHER_SECONDS]
    assert loop.batch(waited=0, took=0.0002, drained=True) == [GATHER_SECONDS], "they were there after the pause"
    assert loop.batch(waited=0.005, took=0.0002, drained=True) == []


def test_another_broker_than_rabbitmq_has_no_transport_to_ask(loop: Loop) -> None:
    loop.pacing.pause(SimpleNamespace())
    loop.now += 1
    loop.pacing.pause(SimpleNamespace())
    assert len(loop.slept) == 1
