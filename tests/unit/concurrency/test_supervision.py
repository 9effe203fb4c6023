"""A background greenlet that fails is restarted with growing pauses; in the end its worker exits."""

from __future__ import annotations

import signal
from collections.abc import Callable

import gevent
import pytest
from structlog.testing import capture_logs

from peatio_ws.concurrency import supervision as room
from peatio_ws.concurrency.supervision import MAX_RESTARTS, STEADY_SECONDS, supervise


class World:
    """Replaces time and signals; pauses end at once.

    Attributes:
        pauses: seconds of each pause.
        signals: signals that the process sent to itself.
    """

    def __init__(self) -> None:
        self.now, self.pauses, self.signals = 100.0, list[float](), list[int]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(room.time, "monotonic", lambda: world.now)
    monkeypatch.setattr(room.gevent, "sleep", world.sleep)
    monkeypatch.setattr(room.signal, "raise_signal", world.signals.append)
    return world


def failing(times: int, error: BaseException) -> tuple[Callable[[], None], list[int]]:
    """Return a loop that fails this many times and then returns, and a list of its runs."""
    runs: list[int] = []

    def loop() -> None:
        runs.append(len(runs))
        if len(runs) <= times:
            raise error

    return loop, runs


@pytest.mark.parametrize("error", [RuntimeError("a bug"), gevent.Timeout(1), BaseException("of no kind")])
def test_failing_loop_is_restarted(world: World, error: BaseException) -> None:
    loop, runs = failing(2, error)
    with capture_logs() as logs:
        supervise("keeper", loop)
    assert len(runs) == 3
    assert [line["greenlet"] for line in logs] == ["keeper", "keeper"]
    assert all(line["exc_info"] for line in logs)
    assert world.signals == []


def test_pauses_grow(world: World) -> None:
    loop, _ = failing(4, RuntimeError())
    supervise("keeper", loop)
    assert world.pauses == sorted(world.pauses)
    assert all(later == 2 * earlier for earlier, later in zip(world.pauses, world.pauses[1:], strict=False))


def test_loop_that_keeps_failing_ends_the_worker(world: World) -> None:
    loop, runs = failing(100, RuntimeError())
    with capture_logs() as logs:
        supervise("keeper", loop)
    assert len(runs) == MAX_RESTARTS
    assert world.signals == [signal.SIGTERM]
    assert logs[-1]["log_level"] == "critical"


def test_long_run_resets_earlier_failures(world: World) -> None:
    runs: list[float] = []

    def loop() -> None:
        runs.append(world.now)
        if len(runs) == 3 * MAX_RESTARTS:
            return
        world.now += STEADY_SECONDS + 1
        raise RuntimeError

    supervise("keeper", loop)
    assert world.signals == []
    assert len(set(world.pauses)) == 1


@pytest.mark.parametrize("error", [gevent.GreenletExit(), SystemExit(3), KeyboardInterrupt()])
def test_loop_that_is_ended_is_not_restarted(world: World, error: BaseException) -> None:
    loop, runs = failing(1, error)
    with pytest.raises(type(error)):
        supervise("keeper", loop)
    assert len(runs) == 1
    assert world.pauses == []


def test_killed_greenlet_is_not_restarted() -> None:
    began = gevent.event.Event()
    times: list[None] = []

    def loop() -> None:
        times.append(None)
        began.set()
        gevent.event.Event().wait()

    greenlet = gevent.spawn(supervise, "keeper", loop)
    assert began.wait(30)
    greenlet.kill()
    assert len(times) == 1
