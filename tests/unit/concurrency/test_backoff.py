"""Pauses between attempts: they grow up to a limit, differ between workers, and start again after a success."""

from __future__ import annotations

import pytest

from peatio_ws.concurrency.backoff import Backoff


def test_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(0.5, 5.0, jitter=0)
    assert [backoff.next_pause() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_pauses_are_jittered_and_bounded() -> None:
    rows = []
    for _ in range(50):
        backoff = Backoff(0.5, 5.0)
        rows.append([backoff.next_pause() for _ in range(12)])
    assert all(0.25 <= row[0] <= 0.5 for row in rows)
    assert all(2.5 <= row[-1] <= 5.0 for row in rows)
    assert len({row[3] for row in rows}) > 40


def test_reset_begins_with_the_first_pause() -> None:
    backoff = Backoff(1.0, 60.0, jitter=0)
    pauses = [backoff.next_pause() for _ in range(3)]
    backoff.reset()
    assert (pauses, backoff.next_pause()) == ([1, 2, 4], 1)


def test_limit_below_the_first_pause_applies() -> None:
    assert Backoff(1.0, 0.01, jitter=0).next_pause() == 0.01


@pytest.mark.parametrize("attempts", [2_000])
def test_any_number_of_failures_has_a_pause(attempts: int) -> None:
    backoff = Backoff(0.5, 5.0)
    assert max(backoff.next_pause() for _ in range(attempts)) <= 5.0
