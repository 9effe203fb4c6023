"""What a worker counts on the way of events: plain numbers, because to tell Prometheus costs more than what is counted.
`stats.py` hands them over once a second.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from typing import Final, NamedTuple

BUCKETS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of what a `DurationHistogram` tells apart."""


STATES: Final = ("new", "public", "member", "closing")
"""How far a connection is: opened; subscribed as nobody; authenticated; said good-bye to."""


class ConnectionStatus(NamedTuple):
    """How a connection stands.

    Attributes:
        protocol: which one it speaks, as a word.
        streams: how many it is subscribed to.
        uid: whose it is; None for nobody's.
    """

    protocol: str
    closing: bool
    streams: int
    uid: str | None

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.closing:
            return "closing"
        if self.uid is not None:
            return "member"
        return "public" if self.streams else "new"


class DurationHistogram:
    """How many times were how long.

    Attributes:
        counts: for each of `BUCKETS` those that were not longer (and longer than the one before); then the others.
        total: of all of them, in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class EventCounters:
    """Counts since they were handed over last.

    Attributes:
        deliveries: those that were read and routed, by exchange.
        others: the rest of them, by exchange and what became of them.
        events: by what became of them: `sent` (to somebody), for `nobody` here, or a trade known already (`repeated`,
            for each connection).
        authentications: tokens shown, by what came of them.
        accepted: clients that were let in, `private` where the request brought a token, and `public`.
        frames: text frames put into outboxes, of events, books and answers.
        batches: seconds from a read of the broker's bytes until what came of it was written, by source.
    """

    __slots__ = ("accepted", "authentications", "batches", "deliveries", "events", "frames", "others")

    def __init__(self) -> None:
        self.deliveries: Counter[str] = Counter()
        self.others: Counter[tuple[str, str]] = Counter()
        self.events: Counter[str] = Counter()
        self.authentications: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.frames = 0
        self.batches: defaultdict[str, DurationHistogram] = defaultdict(DurationHistogram)
