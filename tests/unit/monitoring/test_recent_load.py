"""The load of a worker in the last seconds."""

from __future__ import annotations

import pytest

from peatio_ws.monitoring.recent_load import ROUNDS, RecentLoad


def test_cpu_is_the_share_of_a_core() -> None:
    load = RecentLoad()
    assert load.cpu == 0.0
    load.add_round(100.0, 7.0)
    assert load.cpu == 0.0, "one round has no duration"
    load.add_round(101.0, 7.25)
    assert load.cpu == pytest.approx(0.25)
    for second in range(102, 110):
        load.add_round(float(second), 7.25)
    assert load.cpu == 0.0, "the work is longer ago than the rounds that count"


def test_a_delay_counts_as_long_as_its_round_does() -> None:
    load = RecentLoad()
    load.add_delay(0.5)
    load.add_delay(0.1)
    for second in range(ROUNDS - 1):
        load.add_round(float(second), 0.0)
        assert load.longest_delay == 0.5
    load.add_round(float(ROUNDS), 0.0)
    assert load.longest_delay == 0.0
