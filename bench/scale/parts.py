"""What the parts of `bench.scale.measure` share: servers and clients, and what a load costs beyond idling."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from bench import tokens
from bench.scale.system import System, Used
from bench.scale.traffic import Rates

SECONDS: Final = 4.0
"""Of each load."""
TURNS, TURN_SECONDS, WORKERS = 4, 4.0, 4
MEMBERS, FOLLOWERS, FEW_FOLLOWERS, OPENED = 1000, 1000, 50, 3000
IDLE_SECONDS: Final = 30.0
"""Of the connections: each has been pinged once, and renewed in Redis once."""
Found = dict[str, float]
"""Costs by name; those of a rate end with `@` and the rate."""


class Place(NamedTuple):
    """What each part needs.

    Attributes:
        program: clients.c, compiled.
    """

    folder: Path
    keys: tokens.Keys
    program: Path

    def uids(self, first: int = 0, count: int = MEMBERS) -> list[str]:
        return [tokens.uid(number) for number in range(first, first + count)]


ABSENT: Final = 10**6
"""Members from this number on have no connection."""


def micro(seconds: float, number: float) -> float:
    """Return microseconds for each of a number of things."""
    return seconds / number * 1e6


class Beyond(NamedTuple):
    """What a load used beyond what the same time without a load uses: CPU seconds for an event.

    Attributes:
        workers, nodes: of each.
        redis_second: CPU seconds of Redis a second.
        used: everything, for its bytes.
    """

    events: float
    workers: tuple[float, ...]
    nodes: tuple[float, ...]
    redis: float
    redis_second: float
    used: Used


def beyond(system: System, idle: Used, rates: Rates, seconds: float = SECONDS) -> Beyond:
    """Run a load of one kind."""
    used, counts = system.load(rates, seconds)
    share, events = used.seconds / idle.seconds, sum(counts)

    def less(mine: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, ...]:
        return tuple((one - another * share) / events for one, another in zip(mine, theirs, strict=True))

    redis = used.redis - idle.redis * share
    workers, nodes = less(used.workers, idle.workers), less(used.nodes, idle.nodes)
    return Beyond(events, workers, nodes, redis / events, redis / used.seconds, used)
