"""What tracing one of 1,000 clients costs the others, each of which receives 200 events a second.

    python -m bench.trace [--seconds 10] [--rounds 3]

Prints a table: the worker's CPU and the latencies of all clients, without a trace and with one. Fails if the trace does
not have a line for every event of its client.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from bench import native_code, processes
from bench.clients import Clients
from bench.publisher import Publisher
from peatio_ws.cluster import operator
from tests.support.gateway import GatewayProcess, Signer
from tests.support.servers import RabbitMQ, Redis, scratch, wait_until
from tests.support.tracing import Tracer

CLIENTS, RATE = 1000, 200
UID = "IDTRACE00001"
WAYS = {"no trace": None, "traced": (), "traced with --bodies": ("--bodies",)}
"""What is measured, and the options of `peatio-ws trace`; None for no trace."""


class Place(NamedTuple):
    """What each measurement needs."""

    broker: RabbitMQ
    redis: Redis
    gateway: GatewayProcess
    traders: Clients


class Figures(NamedTuple):
    """One measurement.

    Attributes:
        cpu: of the worker, in microseconds for a delivery.
        p50, p99: from publication to arrival, in milliseconds.
        lines: deliveries that the trace has shown.
    """

    cpu: float
    p50: float
    p99: float
    lines: int


def measure(place: Place, seconds: int, words: tuple[str, ...] | None) -> Figures:
    """Publish for some seconds, and trace one client meanwhile unless `words` is None."""
    if words is None:
        return _publish(place, seconds, None)
    with operator.connected(place.redis.url) as connected:
        one = connected.who(UID).members[CLIENTS // 2]
    with Tracer(place.redis.url, "--connection", one.id, *words) as tracer:
        tracer.until(lambda: tracer.of("connection"), "the client is shown")
        figures = _publish(place, seconds, tracer)
    wait_until(lambda: _logged(place, "began") == _logged(place, "ended"), "the worker has ended the trace")
    return figures


def _logged(place: Place, what: str) -> int:
    return place.gateway.log().count(f'"operator trace {what}"')


def _publish(place: Place, seconds: int, tracer: Tracer | None) -> Figures:
    events, pids = RATE * seconds, place.gateway.workers()
    publisher = Publisher(place.broker.url)
    try:
        place.traders.expect(CLIENTS * events, seconds + 30)
        before = processes.cpu_seconds(pids)
        publisher.publish([f"private.{UID}.order"], events, RATE)
        got = place.traders.received()
        cpu = processes.cpu_seconds(pids) - before
    finally:
        publisher.close()
    if got.frames != CLIENTS * events:
        raise RuntimeError(f"{got.frames} of {CLIENTS * events} frames came")
    lines = 0
    if tracer is not None:
        tracer.until(lambda: len(tracer.of("delivered")) >= events, "every delivery is shown")
        lines = len(tracer.of("delivered"))
        if lines != events or tracer.of("omitted"):
            raise RuntimeError(f"the trace has {lines} lines for {events} events, and {len(tracer.of('omitted'))} gaps")
    return Figures(cpu / got.frames * 1e6, got.p50 / 1000, got.p99 / 1000, lines)


def _table(found: dict[str, list[Figures]]) -> str:
    rows = [("", "CPU of a delivery, µs", "p50, ms", "p99, ms (each run)", "lines")]
    for way, runs in found.items():
        cpu, p50 = (statistics.median(getattr(run, name) for run in runs) for name in ("cpu", "p50"))
        each = ", ".join(f"{run.p99:.1f}" for run in runs)
        p99 = f"{statistics.median(run.p99 for run in runs):.1f} ({each})"
        rows.append((way, f"{cpu:.2f}", f"{p50:.1f}", p99, ", ".join(str(run.lines) for run in runs)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def run(folder: Path, seconds: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure each way in turns, with the same connections."""
    signer, broker, redis = Signer(), RabbitMQ(folder / "broker"), Redis(folder / "redis")
    tokens, found = folder / "tokens", dict[str, list[Figures]]()
    tokens.write_text(signer.token(UID) + "\n")
    environ: dict[str, Any] = {"AMQP_URL": broker.url, "REDIS_URL": redis.url, **signer.environ}
    gateway = None
    try:
        gateway = GatewayProcess(folder, {**environ, "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0"})
        with Clients(native_code.build("clients", folder), tokens, CLIENTS) as traders:
            traders.open(gateway.port, "/", CLIENTS, 0)
            place = Place(broker, redis, gateway, traders)
            measure(place, 1, None)  # warm
            for _ in range(rounds):
                for way, words in WAYS.items():
                    found.setdefault(way, []).append(measure(place, seconds, words))
                    print(f"{way}: {found[way][-1]}", flush=True)
    finally:
        if gateway is not None:
            gateway.stop()
        redis.kill()
        broker.close()
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 5000), hard))
    with scratch() as folder:
        print(_table(run(folder, options.seconds, options.rounds)))


if __name__ == "__main__":
    main()
