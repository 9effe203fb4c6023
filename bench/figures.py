"""The figures: scenarios with their loads, and how to run a scenario with a server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import processes, tokens
from bench.clients import Clients
from bench.contestants import Contestant, Server, Setup
from bench.publisher import Publisher

STREAM = "btcusd.trades"


@dataclass(frozen=True)
class Load:
    """Events to publish while measuring.

    Attributes:
        rate: events per second; 0 for as fast as possible.
    """

    figure: str
    events: int
    rate: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """A number of connections, and the loads for them.

    Attributes:
        members: number of members that share the connections. With one member, all events belong to a public stream,
            and all connections are subscribed to it.
        connect: figure for opening connections; None to not measure it.
        warm_up: number of events before the first load, as fast as possible.
        rounds: maximum number of runs with each server, unless `--rounds` is given.
        guest: measured only if `--only` names its figures.
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
        """Whether each event goes to all connections; otherwise it goes to one."""
        return self.members == 1

    def path(self, contestant: Contestant) -> str:
        """Return the path that the clients request."""
        return f"/?stream={STREAM}" if self.fan_out else contestant.private_path

    def suits(self, contestant: Contestant) -> bool:
        """Return whether to run it with a server: nginx is only for TLS, and the floor cannot send private events."""
        return (self.tls or not contestant.behind_nginx) and (self.fan_out or contestant.name != "kernel")

    @property
    def routing_keys(self) -> list[str]:
        """The routing keys of the events."""
        if self.fan_out:
            return [f"public.{STREAM}"]
        return [f"private.{tokens.uid(number)}.order" for number in range(self.members)]


@dataclass(frozen=True)
class Value:
    """One measurement.

    Attributes:
        figure: its name, such as `fan-out-40`.
        unit: `cpu` (µs per event, delivery or connection), `p50`, `p99` (µs), `memory` (KB per connection), `rate`
            (events, deliveries or connections per second), `others` (share of the machine's CPU that other programs
            used).
    """

    figure: str
    unit: str
    value: float


BURST = 60
"""Events of a burst, for any number of connections. Bursts of different lengths are not comparable: a server may join
all waiting events of a client into one write."""
RATES = (200, 500, 1000, 2000, 5000, 10_000)
"""Rates of the curve, in private events per second."""
WARM_CONNECTIONS = 300
"""Connections that are opened before opening is measured."""
IDLE_SECONDS = 4.0
"""Time without traffic before memory is measured."""


def scenarios(quick: bool) -> list[Scenario]:
    """Return all scenarios.

    Args:
        quick: fewer scenarios, connections and events.
    """
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
    result = [
        Scenario("wss-fan-out", 1000, 1, wss_fan_out, warm_up=20, tls=True),
        Scenario("wss-private", 1000, 1000, wss_private, 4000, tls=True),
        Scenario("wss-connect", opened, opened, (), 0, "wss-connect", tls=True),
        Scenario("private", 1000, 1000, private, 4000, "connect@1000" if quick else None),
        Scenario("fan-out", 1000, 1, fan_out, warm_up=20),
    ]
    # With more connections, the rate of private events, the rate of deliveries and the length of a burst stay the same.
    for count in () if quick else (5_000, 10_000):
        private = (Load(f"private-2000@{count}", 3000, 2000), Load(f"private-full@{count}", 10_000))
        opening = "connect@5000" if count == 5_000 else None
        result.append(Scenario(f"private@{count}", count, count, private, 4000, opening, rounds=2))
        rate = 40_000 / count
        fan_out = (
            Load(f"fan-out-{rate:g}@{count}", int(rate * 2), rate),
            Load(f"fan-out-burst@{count}", BURST),
        )
        result.append(Scenario(f"fan-out@{count}", count, 1, fan_out, 20_000 // count, rounds=2))
    curve = tuple(Load(f"curve-{rate}", min(int(rate * seconds), 8000), rate) for rate in RATES)
    result.append(Scenario("curve", 1000, 1000, curve, 4000, guest=True))
    return result


def run(scenario: Scenario, contestant: Contestant, setup: Setup, clients: Path) -> Iterator[Value]:
    """Run a scenario once with a server."""
    publisher = Publisher(setup.broker)
    other_programs = _OtherPrograms(setup.broker_pid)
    try:
        with (
            Clients(clients, setup.keys.tokens, scenario.connections, scenario.tls) as traders,
            contestant.start(setup, scenario.tls) as server,
        ):
            yield from _open(scenario, scenario.path(contestant), server, traders)
            if scenario.loads:
                _feed(scenario, Load("warm-up", scenario.warm_up), server, traders, publisher)
            for load in scenario.loads:
                yield from _feed(scenario, load, server, traders, publisher)
            yield Value(scenario.name, "others", other_programs.share(server.cpu_seconds() + traders.cpu_seconds()))
    finally:
        publisher.close()


class _OtherPrograms:
    """Measures the share of the machine's CPU that unrelated programs use.

    Args:
        broker_pid: process id of the broker, which belongs to the bench.
    """

    def __init__(self, broker_pid: int) -> None:
        self._broker = processes.tree(broker_pid)
        self._started, self._busy, self._own = time.monotonic(), processes.busy_seconds(), self._own_seconds()

    def _own_seconds(self) -> float:
        return time.process_time() + processes.cpu_seconds(self._broker)

    def share(self, started_since: float) -> float:
        """Return the share since the start, from 0 to 1.

        Args:
            started_since: CPU seconds of processes that the bench has started since then.
        """
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
        raise RuntimeError(f"{load.figure}: {received.frames} of {frames} frames arrived")
    return [
        Value(load.figure, "cpu", cpu / frames * 1e6),
        Value(load.figure, "p50", received.p50),
        Value(load.figure, "p99", received.p99),
        Value(load.figure, "rate", frames / received.took * 1e6),
    ]
