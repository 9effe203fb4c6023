"""Counters of a worker: plain numbers, because updating a Prometheus metric costs more than the event it counts.

Code that counts gets the `Count` of a metric once, and adds to it. `stats.py` exports all counts once a second. What
`transport/` counts are attributes of a connection instead, because it knows no metrics. Gauges are set by `stats.py`,
those of connections from the `ConnectionStatus` of each. Pure.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of a `DurationHistogram`, in seconds."""

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in their order; () for a metric without labels."""

STATES: Final = ("new", "public", "member", "closing")
"""States of a connection in metrics: opened; subscribed without authentication; authenticated; closing."""


class ConnectionStatus(NamedTuple):
    """The status of a connection, for metrics.

    Attributes:
        protocol: `classic`, `ranger` or `handler`.
        streams: number of its subscriptions.
        uid: uid of its member; None if it is anonymous.
        replaying: whether it is receiving events that it missed.
    """

    protocol: str
    closing: bool
    streams: int
    uid: str | None
    replaying: bool = False

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.closing:
            return "closing"
        if self.uid is not None:
            return "member"
        return "public" if self.streams else "new"


class DurationHistogram:
    """A histogram of durations.

    Attributes:
        counts: number of durations up to each bound of `BUCKETS` (and over the bound before); last, all longer ones.
        total: sum of all durations, in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Count:
    """A number of one metric since its last export, for code to add to. Adding to an attribute is the fastest way.

    Attributes:
        exported: the sum of all exports.
    """

    __slots__ = ("exported", "value")

    def __init__(self) -> None:
        self.value = self.exported = 0


class WorkerCounters:
    """The counters of one worker since their last export."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, Labels], Count] = {}
        self._durations: dict[Any, DurationHistogram] = {}

    def count(self, metric: Any, *labels: str) -> Count:
        """Return the count of a metric with these label values. Every caller gets the same object.

        Args:
            metric: a Prometheus counter.
        """
        return self._counts.setdefault((metric, labels), Count())

    def total(self, metric: Any) -> int:
        """Return the number of a metric since this worker started, over all labels."""
        return sum(count.exported + count.value for (one, _), count in self._counts.items() if one is metric)

    def durations(self, metric: Any) -> DurationHistogram:
        """Return the durations of a metric. Every caller gets the same object.

        Args:
            metric: a Prometheus histogram without labels, or with its labels set.
        """
        return self._durations.setdefault(metric, DurationHistogram())

    def export(self, add: Callable[[Any, DurationHistogram], object]) -> None:
        """Add all counts to their metrics, and start again from zero.

        Args:
            add: adds durations to a histogram.
        """
        for (metric, labels), count in self._counts.items():
            if count.value:
                (metric.labels(*labels) if labels else metric).inc(count.value)
                count.exported += count.value
                count.value = 0
        for metric, durations in self._durations.items():
            add(metric, durations)
