"""Code that blocks the event loop is logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import gevent
import pytest
import structlog

from peatio_ws.monitoring import watchdog
from peatio_ws.monitoring.watchdog import Watchdog

LIMIT = 0.04


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what is logged, with a clock that stops while this process waits for the CPU. Every block is short."""
    clock = SimpleNamespace(monotonic=time.process_time, process_time=time.process_time)
    monkeypatch.setattr(watchdog, "time", clock)
    monkeypatch.setattr(watchdog, "LONG_SECONDS", 1000.0)
    log = structlog.testing.LogCapture()
    monkeypatch.setattr(watchdog, "log", structlog.wrap_logger(None, processors=[log]))
    return log.entries


@pytest.fixture
def watch(logged: list[dict[str, Any]]) -> Any:
    made = Watchdog(LIMIT)
    made.start()
    gevent.sleep(1e-6)  # the loop runs
    yield made
    made.stop()


def block(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


class Noticed:
    """Counts how often a watchdog has noticed that the loop is blocked, and that it continues."""

    def __init__(self, watch: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = self.ended = 0
        self._of, self._log = watchdog._Block.of, watch._log
        monkeypatch.setattr(watchdog._Block, "of", self._count)
        monkeypatch.setattr(watch, "_log", self._count_end)

    def _count(self, frame: FrameType) -> watchdog._Block:
        found = self._of(frame)
        self.times += 1
        return found

    def _count_end(self, *args: Any) -> None:
        self._log(*args)
        self.ended += 1

    def block(self, more: float = 0.0) -> None:
        """Block the loop until the watchdog has noticed it, however long its thread waits for the CPU, and longer.

        Args:
            more: seconds of CPU after it was noticed.
        """
        before, limit = self.times, time.monotonic() + 60
        while self.times == before:
            assert time.monotonic() < limit, "the watchdog did not notice it"
        until = time.process_time() + more
        while time.process_time() < until:
            pass

    def once(self, more: float = 0.0) -> None:
        before, until = self.ended, time.monotonic() + 60
        gevent.spawn(self.block, more).join()
        while self.ended == before:
            assert time.monotonic() < until, "the watchdog did not notice that it ended"
            gevent.sleep(LIMIT)


def spin(done: Callable[[], bool]) -> None:
    """Compute until a condition holds."""
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until


@pytest.fixture
def noticed(watch: Watchdog, monkeypatch: pytest.MonkeyPatch) -> Noticed:
    return Noticed(watch, monkeypatch)


def test_blocking_code_is_logged_once_with_its_stack(noticed: Noticed, logged: list[dict[str, Any]]) -> None:
    for _ in range(3):
        noticed.once()
    (entry,) = logged
    assert entry["log_level"] == "warning"
    assert entry["seconds"] >= LIMIT
    assert entry["place"].startswith(__file__)
    assert "in block\n" in entry["stack"]


def test_repeated_blocking_is_logged_again_with_a_count(
    noticed: Noticed, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        noticed.once()
    monkeypatch.setattr(watchdog, "LOG_SECONDS", 0.0)
    noticed.once()
    assert [entry["left_out"] for entry in logged] == [0, 1]


def test_logged_time_is_that_of_the_whole_block(noticed: Noticed, logged: list[dict[str, Any]]) -> None:
    noticed.once(more=10 * LIMIT)
    assert logged[0]["seconds"] > 10 * LIMIT, "this is when the stack was taken"


def test_long_blocks_are_all_logged(
    noticed: Noticed, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG_SECONDS", 2 * LIMIT)
    for _ in range(3):
        noticed.once(more=2 * LIMIT)
    assert [entry["left_out"] for entry in logged] == [0, 0, 0]


def test_lasting_block_is_logged_before_it_ends(
    watch: Watchdog, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LASTING_SECONDS", 2 * LIMIT)
    gevent.spawn(spin, lambda: bool(logged)).join()
    (lasting,) = logged
    assert lasting["event"].startswith("event loop still blocked")
    assert "in spin\n" in lasting["stack"]
    assert lasting["seconds"] >= 2 * LIMIT


@pytest.mark.parametrize("computing", [True, False])
def test_block_that_kept_the_watchdog_from_running_is_logged(
    computing: bool, watch: Watchdog, logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a C function that keeps the GIL does. Without use of the CPU, other programs had it, or the host slept."""
    waits, released = threading.Semaphore(0), threading.Semaphore(0)

    def sleep(_: float) -> None:
        waits.release()
        released.acquire(timeout=60)

    monkeypatch.setattr(watchdog, "LONG_SECONDS", 2 * LIMIT)
    monkeypatch.setattr(watchdog, "_sleep", sleep)
    try:
        assert waits.acquire(timeout=60)
        gevent.sleep(1e-6)
        released.release()
        assert waits.acquire(timeout=60)  # it has seen that the loop turns
        gevent.sleep(1e-6)
        logged.clear()
        if not computing:
            clock = SimpleNamespace(monotonic=time.process_time, process_time=lambda: 0.0)
            monkeypatch.setattr(watchdog, "time", clock)
        until = time.process_time() + 4 * LIMIT
        gevent.spawn(spin, lambda: time.process_time() > until).join()
        gevent.sleep(1e-6)
        released.release()
        assert waits.acquire(timeout=60)
    finally:
        watch.stop()
        released.release()
    found = [(entry["place"], entry["stack"], entry["seconds"] >= 4 * LIMIT) for entry in logged]
    assert found == ([("unknown", "", True)] if computing else [])


def test_work_before_the_first_iteration_is_not_logged(logged: list[dict[str, Any]]) -> None:
    watch = Watchdog(LIMIT)
    watch.start()
    block(5 * LIMIT)
    watch.stop()
    assert logged == []


def test_idle_loop_is_not_logged(logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "time", time)
    watch = Watchdog(LIMIT)
    watch.start()
    gevent.sleep(20 * LIMIT)
    watch.stop()
    assert logged == []


def test_running_loop_is_not_logged(watch: Watchdog, logged: list[dict[str, Any]]) -> None:
    until = time.process_time() + 20 * LIMIT
    while time.process_time() < until:
        block(LIMIT / 20)
        gevent.sleep(1e-6)
    assert logged == []
