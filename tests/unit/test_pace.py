"""When the loop that reads the broker lets others run, and when it waits for more to come."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from peatio_ws import pace
from peatio_ws.pace import BUSY_SECONDS, GATHER_SECONDS, Pace


class Loop:
    """A loop whose time passes when the test says so; what it slept is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, list[float]()
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(pace.gevent, "sleep", self.sleep)
        self.transport = SimpleNamespace(rested=0.0, drained=True)
        self.pace = Pace()

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
        self.pace.rest(SimpleNamespace(transport=self.transport))
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
    loop.pace.rest(SimpleNamespace())
    loop.now += 1
    loop.pace.rest(SimpleNamespace())
    assert len(loop.slept) == 1


def test_clients_that_are_ready_at_once_share_one_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only when a client is looked at."""
    now, order, hub = [100.0], list[int](), gevent.get_hub()
    iterations = dict[int, int]()
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])

    def client(number: int) -> None:
        for _ in range(5):
            pace.let_others_run()
            order.append(number)
            iterations[hub.loop.iteration] = iterations.get(hub.loop.iteration, 0) + 1
            now[0] += pace.TURN_SECONDS * 0.6

    with gevent.Timeout(30):
        gevent.joinall([gevent.spawn(client, number) for number in range(10)], raise_error=True)
    assert max(iterations.values()) <= 2, "one that began in time, and one that went over it"
    for end in range(len(order)):
        looked_at = [order[:end].count(number) for number in range(10)]
        assert max(looked_at) - min(looked_at) <= 3, "none is forgotten"


def test_a_client_that_gives_up_waiting_for_its_turn_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [200.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    gone = [gevent.spawn(pace.let_others_run) for _ in range(3)]
    pace.let_others_run()
    now[0] += 2 * pace.TURN_SECONDS
    waiting = gevent.spawn(pace.let_others_run)
    gevent.killall(gone)
    with gevent.Timeout(30):
        waiting.join()
    assert not gevent.get_hub().clients_turn.waiting


def test_a_crowd_that_waits_for_its_turn_costs_the_loop_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept, sleep = [300.0], [0], gevent.sleep
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])

    def counted(seconds: float) -> None:
        slept[0] += 1
        sleep(seconds)

    monkeypatch.setattr(gevent, "sleep", counted)

    def client() -> None:
        pace.let_others_run()
        now[0] += pace.TURN_SECONDS * 0.6

    with gevent.Timeout(30):
        gevent.joinall([gevent.spawn(client) for _ in range(200)], raise_error=True)
    assert slept[0] <= 200, "not each of them at each turn"
