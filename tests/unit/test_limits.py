"""What is said of limits that are reached: counted each time, logged once a minute."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from peatio_ws import limits, metrics
from peatio_ws.limits import Limit, Throttle


def test_a_throttle_lets_some_through_and_tells_once_how_many_it_did_not() -> None:
    throttle = Throttle(2, 60)
    assert [throttle.left_out("a", now) for now in (0, 1, 2, 3, 59)] == [0, 0, None, None, None]
    assert throttle.left_out("b", 59) == 0, "another kind has a window of its own"
    assert [throttle.left_out("a", now) for now in (60, 61, 62)] == [3, 0, None]
    assert throttle.left_out("a", 300) == 1


def test_a_limit_is_counted_each_time_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "_limits", Throttle(1, limits.LOG_SECONDS))
    counter = metrics.limits_reached.labels(Limit.PENDING)
    before = counter._value.get()
    with capture_logs() as lines:
        for _ in range(5):
            limits.reached(Limit.PENDING, most=7)
        now[0] += limits.LOG_SECONDS
        limits.reached(Limit.PENDING, most=7)
    assert counter._value.get() == before + 6
    assert [(line["limit"], line["most"], line.get("left_out")) for line in lines] == [
        ("pending_requests", 7, None),
        ("pending_requests", 7, 4),
    ]


def test_lines_that_clients_cause_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "_lines", Throttle(limits.LINES_A_MINUTE, limits.LOG_SECONDS))
    with capture_logs() as lines:
        for _ in range(1000):
            limits.tell(limits.log, "handshake refused", status=401)
        limits.tell(limits.log, "token refused")
        now[0] += limits.LOG_SECONDS
        limits.tell(limits.log, "handshake refused", status=401)
    assert len(lines) == limits.LINES_A_MINUTE + 2
    assert lines[-1]["left_out"] == 1000 - limits.LINES_A_MINUTE
