"""How a worker counts, and how its counts are exported."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from peatio_ws.monitoring.counters import BUCKETS, DurationHistogram, WorkerCounters


@given(st.lists(st.floats(0, 100) | st.sampled_from(BUCKETS)))
def test_duration_is_counted_at_the_first_bound_not_below_it(times: list[float]) -> None:
    durations = DurationHistogram()
    for seconds in times:
        durations.add(seconds)
    bounds = [*BUCKETS, float("inf")]
    lower = [-1.0, *BUCKETS]
    expected = [sum(low < one <= high for one in times) for low, high in zip(lower, bounds, strict=True)]
    assert durations.counts == expected
    assert abs(durations.total - sum(times)) < 1e-6


def test_counts_of_a_metric_are_exported_once() -> None:
    registry = CollectorRegistry()
    plain = Counter("plain", "Without labels", registry=registry)
    labelled = Counter("labelled", "With labels", ["a", "b"], registry=registry)
    times = Histogram("times", "Durations", buckets=BUCKETS, registry=registry)
    counters = WorkerCounters()
    counters.count(plain).value += 2
    counters.count(labelled, "x", "y").value += 3
    counters.durations(times).add(0.2)
    exported: list[tuple[object, float]] = []
    for _ in range(2):
        counters.export(lambda metric, durations: exported.append((metric, durations.total)))
    assert registry.get_sample_value("plain_total") == 2
    assert registry.get_sample_value("labelled_total", {"a": "x", "b": "y"}) == 3
    assert exported[0] == (times, 0.2)


def test_callers_share_counters() -> None:
    counters, metric = WorkerCounters(), object()
    assert counters.count(metric, "a") is counters.count(metric, "a")
    assert counters.durations(metric) is counters.durations(metric)
    assert counters.count(metric, "a") is not counters.count(metric, "b")
