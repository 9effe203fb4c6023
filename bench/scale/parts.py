"""Shared by the parts of `bench.scale.measure`: numbers of clients and runs, and the cost of a load."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from bench import tokens
from bench.scale.system import System, Usage
from bench.scale.traffic import Rates

SECONDS: Final = 4.0
"""Duration of a load."""
TURNS, TURN_SECONDS, WORKERS = 4, 4.0, 4
"""Runs of each load in a part that alternates loads, duration of a run, and workers of the larger gateway."""
MEMBERS, FOLLOWERS, FEW_FOLLOWERS, OPENED = 1000, 1000, 50, 3000
"""Clients: members, followers of a stream, followers of the stream with few, and connections of `connections`."""
IDLE_SECONDS: Final = 30.0
"""How long connections stay idle: long enough for one ping and one renewal in Redis of each."""
Values = dict[str, float]
"""Costs by name. The name of a cost at a rate ends with `@` and the rate."""


class Workspace(NamedTuple):
    """Files that each part needs.

    Attributes:
        folder: for files of the servers.
        keys: the key pair and the tokens of the members.
        program: clients.c, compiled.
    """

    folder: Path
    keys: tokens.Keys
    program: Path

    def uids(self, first: int = 0, count: int = MEMBERS) -> list[str]:
        """Return the uids of `count` members, from number `first` on."""
        return [tokens.uid(number) for number in range(first, first + count)]


ABSENT: Final = 10**6
"""The first number of members without connections."""


def micro(seconds: float, number: float) -> float:
    """Return the µs per item."""
    return seconds / number * 1e6


class LoadCost(NamedTuple):
    """The CPU seconds per event of a load, without those that idle processes use in the same time.

    Attributes:
        events: the number of events.
        workers, nodes: of each worker and each RabbitMQ node.
        redis_second: CPU seconds of Redis per second, not per event.
        used: the whole usage during the load, also of idle processes.
    """

    events: float
    workers: tuple[float, ...]
    nodes: tuple[float, ...]
    redis: float
    redis_second: float
    used: Usage


def load_cost(system: System, idle: Usage, rates: Rates, seconds: float = SECONDS) -> LoadCost:
    """Run a load and return its cost.

    Args:
        idle: usage of the same system without events.
    """
    used, counts = system.load(rates, seconds)
    share, events = used.seconds / idle.seconds, sum(counts)

    def per_event(loaded: tuple[float, ...], unloaded: tuple[float, ...]) -> tuple[float, ...]:
        return tuple((one - another * share) / events for one, another in zip(loaded, unloaded, strict=True))

    redis = used.redis - idle.redis * share
    workers, nodes = per_event(used.workers, idle.workers), per_event(used.nodes, idle.nodes)
    return LoadCost(events, workers, nodes, redis / events, redis / used.seconds, used)
