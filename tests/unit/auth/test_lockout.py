"""Failed tokens of an address, counted for a minute, by this worker and others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth import lockout
from peatio_ws.auth.lockout import Lockout

HERE = "203.0.113.7"


def test_an_address_waits_until_its_minute_is_over() -> None:
    counted = Lockout(3)
    assert [counted.add(HERE, at) for at in (10.0, 20.0, 30.5)] == [False, False, True]
    assert counted.seconds_left(HERE, 30.5) == 40
    assert counted.seconds_left(HERE, 69.5) == 1
    assert counted.seconds_left(HERE, 70.0) == 0
    assert counted.seconds_left("203.0.113.8", 30.5) == 0
    assert not counted.add(HERE, 70.0), "the old minute still counts"
    assert counted.seconds_left(HERE, 70.0) == 0


def test_without_a_limit_nothing_is_counted() -> None:
    counted = Lockout(0)
    assert not any(counted.add(HERE, 1.0) for _ in range(1000))
    counted.lock(HERE, 60.0, 1.0)
    assert counted.seconds_left(HERE, 1.0) == 0
    assert not counted.unreported(1.0)


def test_failures_at_other_workers_are_added() -> None:
    counted = Lockout(5)
    for _ in range(2):
        counted.add(HERE, 10.0)
    assert counted.unreported(10.0) == [(HERE, 2)]
    counted.add(HERE, 10.1)  # while the report to Redis is under way
    assert counted.add_total(HERE, 2, 4, 30.0, 10.5), "the limit is reached"
    assert counted.unreported(10.5) == [(HERE, 1)]
    assert counted.seconds_left(HERE, 10.5) == 30, "four failures elsewhere and one here, within the minute in Redis"
    assert not counted.unreported(40.5), "the counts are too old to report"


def test_lock_by_another_worker_applies_at_once() -> None:
    counted = Lockout(5)
    counted.lock(HERE, 12.5, 10.0)
    assert counted.seconds_left(HERE, 10.0) == 13
    assert counted.seconds_left(HERE, 22.5) == 0


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 50)), max_size=60), st.integers(1, 5))
def test_lockout_equals_a_list_of_all_failures(seen: list[tuple[str, float]], limit: int) -> None:
    counted, now = Lockout(limit), 0.0
    minutes: dict[str, tuple[float, int]] = {}
    for address, pause in seen:
        now += pause
        ends, count = minutes.get(address, (0.0, 0))
        if ends <= now:
            ends, count = now + 60, 0
        minutes[address] = (ends, count + 1)
        assert counted.add(address, now) is (count + 1 == limit)
        for each, (end, number) in minutes.items():
            assert (counted.seconds_left(each, now) > 0) is (number >= limit and end > now)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "ADDRESSES_KEPT", 10)
    counted = Lockout(1)
    for number in range(25):
        counted.add(str(number), float(number))
    assert [number for number in range(25) if counted.seconds_left(str(number), 25.0)] == list(range(15, 25))


def test_reported_or_expired_failures_are_not_visited_again() -> None:
    counted = Lockout(5)
    for number in range(20):
        counted.add(str(number), float(number))
    for number in range(10):
        counted.add_total(str(number), 1, 1, 60.0, 20.0)
    assert (
        list(counted._unreported)
        == [address for address, _ in counted.unreported(20.0)]
        == [str(n) for n in range(10, 20)]
    )
    counted.unreported(75.0)  # fifteen minutes are over
    assert list(counted._unreported) == ["16", "17", "18", "19"]


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 3), st.floats(0, 50)), max_size=60))
def test_each_failure_is_reported_once_or_expires(steps: list[tuple[str, int, float]]) -> None:
    """In any order of reports, new failures and ends of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lockout, "ADDRESSES_KEPT", 3)
        counted, now = Lockout(5), 0.0
        for address, reported, pause in steps:
            now += pause
            if reported:
                counted.add_total(address, reported, reported, 30.0, now)
            else:
                counted.add(address, now)
            windows = counted._windows
            due = {one: window.unreported for one, window in windows.items() if window.unreported and window.ends > now}
            assert dict(counted.unreported(now)) == due
