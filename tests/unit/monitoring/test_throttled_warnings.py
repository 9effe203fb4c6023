"""Warnings that repeat are logged once in a while, with the number of those left out."""

from __future__ import annotations

from peatio_ws.monitoring.throttled_warnings import Throttle


def test_equal_warnings_are_counted_until_their_time_is_over() -> None:
    throttle = Throttle()
    found = [throttle.left_out("json", now, 10.0) for now in (0.0, 1.0, 9.9, 10.0, 11.0, 20.0, 40.0)]
    assert found == [0, None, None, 2, None, 1, 0]


def test_subjects_do_not_hide_each_other() -> None:
    throttle = Throttle()
    assert [throttle.left_out(subject, 0.0, 10.0) for subject in ("json", "shape", "json")] == [0, 0, None]


def test_some_are_logged_before_the_rest_is_left_out() -> None:
    throttle = Throttle(most=2)
    assert [throttle.left_out("a", now, 60) for now in (0, 1, 2, 3, 59)] == [0, 0, None, None, None]
    assert throttle.left_out("b", 59, 60) == 0, "another subject has a separate window"
    assert [throttle.left_out("a", now, 60) for now in (60, 61, 62)] == [3, 0, None]
    assert throttle.left_out("a", 300, 60) == 1
