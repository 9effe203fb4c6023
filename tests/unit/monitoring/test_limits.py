"""Limits that are reached: counted every time, logged once a minute."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from peatio_ws.monitoring import limits, metrics
from peatio_ws.monitoring.limits import Limit
from peatio_ws.monitoring.throttled_warnings import Throttle


def test_a_limit_is_counted_each_time_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "_limits", Throttle())
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


def test_lines_caused_by_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(limits, "_lines", Throttle(limits.LINES_A_MINUTE))
    with capture_logs() as lines:
        for _ in range(1000):
            limits.log_line(limits.log, "handshake refused", status=401)
        limits.log_line(limits.log, "token refused")
        now[0] += limits.LOG_SECONDS
        limits.log_line(limits.log, "handshake refused", status=401)
    assert len(lines) == limits.LINES_A_MINUTE + 2
    assert lines[-1]["left_out"] == 1000 - limits.LINES_A_MINUTE
