"""How times are sorted by their length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.monitoring.counters import BUCKETS, DurationHistogram


@given(st.lists(st.floats(0, 100) | st.sampled_from(BUCKETS)))
def test_a_time_is_counted_at_the_first_bound_that_it_does_not_exceed(times: list[float]) -> None:
    durations = DurationHistogram()
    for seconds in times:
        durations.add(seconds)
    bounds = [*BUCKETS, float("inf")]
    lower = [-1.0, *BUCKETS]
    expected = [sum(low < one <= high for one in times) for low, high in zip(lower, bounds, strict=True)]
    assert durations.counts == expected
    assert abs(durations.total - sum(times)) < 1e-6
