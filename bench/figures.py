"""What is measured: scenarios with their loads, and how one of them is run with one contestant."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import processes, tokens
from bench.clients import Clients
from bench.contestants import Contestant, Server, Surroundings
from bench.publisher import Publisher

STREAM = "btcusd.trades"


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
        members: how many members have these connections between them; with one, every event is of a public stream to
            which all of them are subscribed.
        connect: figure for opening most of them; None if nobody wants to know.
        warm_up: events before the first load, as fast as it goes.
        rounds: at most so many runs of each contestant.
        guest: measured only where its figures are named.
        tls: whether the clients use TLS.
    """

    name: str
    connections: int
    members: int
    loads: tuple[Load, ...]
    warm_up: int
    connect: str | None = None
    rounds: int = 100
    guest: bool = False
    tls: bool = False

    @property
    def fan_out(self) -> bool:
        """Whether an event goes to all connections, or to one."""
        return self.members == 1

    def path(self, contestant: Contestant) -> str:
        """What the clients ask for."""
        return f"/?stream={STREAM}" if self.fan_out else contestant.private_path

    def suits(self, contestant: Contestant) -> bool:
        """Whether it is for this contestant: nginx is there for TLS, and the floor knows no members."""
        return (self.tls or not contestant.behind_nginx) and (self.fan_out or contestant.name != "kernel")

    @property
    def routing_keys(self) -> list[str]:
        """Whom the events are for."""
        if self.fan_out:
            return [f"public.{STREAM}"]
        return [f"private.{tokens.uid(number)}.order" for number in range(self.members)]


@dataclass(frozen=True)
class Value:
    """One measurement.

    Attributes:
        figure: what was measured, `fan-out-40`.
        unit: `cpu` (µs for an event, a delivery or a connection), `p50`, `p99` (µs), `memory` (KB a connection),
            `rate` (events, deliveries or connections a second), `others` (share of the machine that others took).
    """

    figure: str
    unit: str
    value: float


BURST = 60
"""Events of a burst, for however many connections: what comes at once leaves in one write a client, so that bursts of
different lengths do not compare."""
RATES = (200, 500, 1000, 2000, 5000, 10_000)
"""Private events a second along the curve."""
WARM_CONNECTIONS = 300
"""Opened before opening is measured."""
IDLE_SECONDS = 4.0
"""Without traffic, before memory is measured."""


def scenarios(quick: bool) -> list[Scenario]:
    """All there is to measure; `quick`: less of it."""
    seconds = 1.5 if quick else 3.0
    private = (
        Load("private-200", int(200 * seconds), 200),
        Load("private-2000", int(2000 * seconds), 2000),
        Load("private-full", int(5000 * seconds)),
    )
    fan_out = (Load("fan-out-40", int(40 * seconds), 40), Load("fan-out-burst", BURST))
    wss_fan_out = (Load("wss-fan-out-40", int(40 * seconds), 40), Load("wss-fan-out-burst", BURST))
    wss_private = (Load("wss-private-2000", int(2000 * seconds), 2000),)
    opened = 1000 if quick else 3000
    found = [
        Scenario("wss-fan-out", 1000, 1, wss_fan_out, warm_up=20, tls=True),
        Scenario("wss-private", 1000, 1000, wss_private, 4000, tls=True),
        Scenario("wss-connect", opened, opened, (), 0, "wss-connect", tls=True),
        Scenario("private", 1000, 1000, private, 4000, "connect@1000" if quick else None),
        Scenario("fan-out", 1000, 1, fan_out, warm_up=20),
    ]
    # The same with more connections: as many private events, as many paced deliveries, as long a burst.
    for count in () if quick else (5_000, 10_000):
        private = (Load(f"private-2000@{count}", 3000, 2000), Load(f"private-full@{count}", 10_000))
        opening = "connect@5000" if count == 5_000 else None
        found.append(Scenario(f"private@{count}", count, count, private, 4000, opening, rounds=2))
        rate = 40_000 / count
        fan_out = (
            Load(f"fan-out-{rate:g}@{count}", int(rate * 2), rate),
            Load(f"fan-out-burst@{count}", BURST),
        )
        found.append(Scenario(f"fan-out@{count}", count, 1, fan_out, 20_000 // count, rounds=2))
    curve = tuple(Load(f"curve-{rate}", min(int(rate * seconds), 8000), rate) for rate in RATES)
    found.append(Scenario("curve", 1000, 1000, curve, 4000, guest=True))
    return found


def run(scenario: Scenario, contestant: Contestant, around: Surroundings, clients: Path) -> Iterator[Value]:
    """One run of one scenario with one contestant."""
    publisher = Publisher(around.broker)
    watch = _Watch(around.broker_pid)
    try:
        with (
            Clients(clients, around.keys.tokens, scenario.connections, scenario.tls) as traders,
            contestant.start(around, scenario.tls) as server,
        ):
            yield from _open(scenario, scenario.path(contestant), server, traders)
            if scenario.loads:
                _feed(scenario, Load("warm-up", scenario.warm_up), server, traders, publisher)
            for load in scenario.loads:
                yield from _feed(scenario, load, server, traders, publisher)
            yield Value(scenario.name, "others", watch.others(server.cpu_seconds() + traders.cpu_seconds()))
    finally:
        publisher.close()


class _Watch:
    """Tells what share of the machine programs took that are no part of this."""

    def __init__(self, broker_pid: int) -> None:
        self._broker = processes.tree(broker_pid)
        self._started, self._busy, self._own = time.monotonic(), processes.busy_seconds(), self._own_seconds()

    def _own_seconds(self) -> float:
        return time.process_time() + processes.cpu_seconds(self._broker)

    def others(self, started_since: float) -> float:
        """The share since the start, 0 to 1; without the CPU time of what was started since."""
        own = self._own_seconds() - self._own + started_since
        took = (time.monotonic() - self._started) * (os.cpu_count() or 1)
        return max(processes.busy_seconds() - self._busy - own, 0) / took


def _open(scenario: Scenario, path: str, server: Server, traders: Clients) -> Iterator[Value]:
    step = 0 if scenario.fan_out else 1
    warm = min(WARM_CONNECTIONS, scenario.connections // 2) if scenario.connect else 0
    if warm:
        traders.open(server.port, path, warm, step)
    count, pause = scenario.connections - warm, IDLE_SECONDS if scenario.connect else 0.2
    time.sleep(pause)
    cpu, memory, started = server.cpu_seconds(), server.memory_bytes(), time.monotonic()
    traders.open(server.port, path, count, step)
    took = time.monotonic() - started
    time.sleep(0.2)
    cpu = server.cpu_seconds() - cpu
    if scenario.connect:
        time.sleep(pause)
        yield Value(scenario.connect, "cpu", cpu / count * 1e6)
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
