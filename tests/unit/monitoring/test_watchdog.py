"""Code that blocks the event loop is logged."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import structlog

from peatio_ws.monitoring import watchdog
from peatio_ws.monitoring.watchdog import Watchdog

LIMIT = 0.04


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what is logged, with a clock that stops while this process waits for the CPU."""
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=time.process_time))
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
    """Counts how often a watchdog has noticed that the loop is blocked."""

    def __init__(self, watch: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        self._log = watch._log
        monkeypatch.setattr(watch, "_log", self._count)

    def _count(self, *args: Any) -> None:
        self._log(*args)
        self.times += 1

    def block(self) -> None:
        """Block the loop until the watchdog has noticed it, however long its thread waits for the CPU."""
        before, until = self.times, time.monotonic() + 60
        while self.times == before:
            assert time.monotonic() < until, "the watchdog did not notice it"

    def once(self) -> None:
        gevent.spawn(self.block).join()
        gevent.sleep(2 * LIMIT)


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
