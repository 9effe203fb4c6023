"""What is measured: scenarios with their loads, and how one of them is run with one contestant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import tokens
from bench.clients import Clients
from bench.contestants import Contestant, Server, Surroundings
from bench.publisher import Publisher


@dataclass(frozen=True)
class Load:
    """Events to publish while the clock runs.

    Attributes:
        rate: events a second; 0 for as fast as it goes.
    """

    figure: str
    events: int
    rate: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """Connections, and what is done to them.

    Attributes:
        members: how many members have these connections between them; with one, every event is a fan-out.
        connect: figure for opening most of them; None if nobody wants to know.
        warm_up: events before the first load, as fast as it goes.
        rounds: at most so many runs of each contestant.
    """

    name: str
    connections: int
    members: int
    loads: tuple[Load, ...]
    warm_up: int
    connect: str | None = None
    rounds: int = 100

    @property
    def fan_out(self) -> bool:
        """Whether an event goes to all connections, or to one."""
        return self.members == 1

    @property
    def routing_keys(self) -> list[str]:
        """Whom the events are for. Once the gateway has public streams, a fan-out is `public.btcusd.trades` here."""
        return [f"private.{tokens.uid(number)}.order" for number in range(self.members)]


@dataclass(frozen=True)
class Value:
    """One measurement.

    Attributes:
        figure: what was measured, `fan-out-40`.
        unit: `cpu` (µs for an event, a delivery or a connection), `p50`, `p99` (µs), `memory` (KB a connection),
            `rate` (events or connections a second).
    """

    figure: str
    unit: str
    value: float


WARM_CONNECTIONS = 300
"""Opened before opening is measured."""


def scenarios(quick: bool) -> list[Scenario]:
    """All there is to measure; `quick`: less of it."""
    seconds, most = (1.5, 2_000) if quick else (4.0, 10_000)
    found = [
        Scenario(
            "private",
            200,
            200,
            (
                Load("private-200", int(200 * seconds), 200),
                Load("private-2000", int(2000 * seconds), 2000),
                Load("private-full", int(5000 * seconds)),
            ),
            warm_up=4000,
        ),
        Scenario(
            "fan-out",
            1000,
            1,
            (Load("fan-out-40", int(40 * seconds), 40), Load("fan-out-burst", int(50 * seconds))),
            warm_up=20,
        ),
    ]
    for count in (1_000, 5_000, 10_000):
        if count > most:
            continue
        private = (
            Load(f"private-2000@{count}", int(1000 * seconds), 2000),
            Load(f"private-full@{count}", int(2500 * seconds)),
        )
        opening = f"connect@{count}" if count == 5_000 or quick else None
        found.append(Scenario(f"private@{count}", count, count, private, 4000, opening, rounds=3))
        rate = 40_000 / count
        fan_out = (
            Load(f"fan-out-paced@{count}", max(int(rate * seconds / 2), 4), rate),
            Load(f"fan-out-burst@{count}", int(50_000 * seconds / count)),
        )
        found.append(Scenario(f"fan-out@{count}", count, 1, fan_out, 20_000 // count, rounds=3))
    return found


def run(scenario: Scenario, contestant: Contestant, around: Surroundings, clients: Path) -> Iterator[Value]:
    """One run of one scenario with one contestant."""
    publisher = Publisher(around.broker)
    try:
        with (
            Clients(clients, around.keys.tokens, scenario.connections) as traders,
            contestant.start(around) as server,
        ):
            yield from _open(scenario, server, traders)
            _feed(scenario, Load("warm-up", scenario.warm_up), server, traders, publisher)
            for load in scenario.loads:
                yield from _feed(scenario, load, server, traders, publisher)
    finally:
        publisher.close()


def _open(scenario: Scenario, server: Server, traders: Clients) -> Iterator[Value]:
    step = 0 if scenario.fan_out else 1
    warm = min(WARM_CONNECTIONS, scenario.connections // 2) if scenario.connect else 0
    if warm:
        traders.open(server.port, warm, step)
    count = scenario.connections - warm
    time.sleep(0.2)
    cpu, memory, started = server.cpu_seconds(), server.memory_bytes(), time.monotonic()
    traders.open(server.port, count, step)
    took = time.monotonic() - started
    time.sleep(0.2)
    if scenario.connect:
        yield Value(scenario.connect, "cpu", (server.cpu_seconds() - cpu) / count * 1e6)
        yield Value(scenario.connect, "memory", (server.memory_bytes() - memory) / count / 1024)
        yield Value(scenario.connect, "rate", count / took)


def _feed(scenario: Scenario, load: Load, server: Server, traders: Clients, publisher: Publisher) -> list[Value]:
    frames = load.events * (scenario.connections if scenario.fan_out else 1)
    before = server.cpu_seconds()
    traders.expect(frames, 30 + (load.events / load.rate if load.rate else 0))
    server.feed(publisher, scenario.routing_keys, load.events, load.rate)
    received = traders.received()
    time.sleep(0.05)
    cpu = server.cpu_seconds() - before
    if received.frames != frames:
        raise RuntimeError(f"{load.figure}: {received.frames} of {frames} frames came")
    return [
        Value(load.figure, "cpu", cpu / frames * 1e6),
        Value(load.figure, "p50", received.p50),
        Value(load.figure, "p99", received.p99),
        Value(load.figure, "rate", frames / received.took * 1e6),
    ]
