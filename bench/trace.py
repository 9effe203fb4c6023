"""What tracing one of 1,000 clients costs the 999 others.

    python -m bench.trace [--seconds 10] [--rounds 3]

The traced client receives 200 private events a second, and the others together as many. Prints a table: the worker's
CPU and the latencies of the others, without a trace and with one. Fails if the trace does not have a line for every
event of its client.
"""

from __future__ import annotations

import argparse
import base64
import resource
import statistics
from pathlib import Path
from typing import NamedTuple

from bench import native_code, processes, tokens
from bench.clients import Clients
from bench.publisher import Publisher
from tests.support.gateway import GatewayProcess
from tests.support.servers import RabbitMQ, Redis, scratch, wait_until
from tests.support.tracing import Tracer

OTHERS, RATE = 999, 200
WAYS = {"no trace": None, "traced": (), "traced with --bodies": ("--bodies",)}
"""What is measured, and the options of `peatio-ws trace`; None for no trace."""


class Place(NamedTuple):
    """What each measurement needs. The traced member has the number `OTHERS`."""

    broker: RabbitMQ
    redis: Redis
    gateway: GatewayProcess
    others: Clients
    traced: Clients


class Figures(NamedTuple):
    """One measurement.

    Attributes:
        cpu: of the worker, as a share of a core.
        p50, p99: from publication to arrival at the others, in milliseconds.
        lines: deliveries that the trace has shown.
    """

    cpu: float
    p50: float
    p99: float
    lines: int


def measure(place: Place, seconds: int, words: tuple[str, ...] | None) -> Figures:
    """Publish for some seconds, and trace the one client meanwhile unless `words` is None."""
    if words is None:
        return _publish(place, seconds, None)
    with Tracer(place.redis.url, tokens.uid(OTHERS), *words) as tracer:
        tracer.until(lambda: tracer.of("connection"), "the client is shown")
        figures = _publish(place, seconds, tracer)
    wait_until(lambda: _logged(place, "began") == _logged(place, "ended"), "the worker has ended the trace")
    return figures


def _logged(place: Place, what: str) -> int:
    return place.gateway.log().count(f'"operator trace {what}"')


def _publish(place: Place, seconds: int, tracer: Tracer | None) -> Figures:
    events, pids = RATE * seconds, place.gateway.workers()
    own = f"private.{tokens.uid(OTHERS)}.order"
    keys = [key for number in range(OTHERS) for key in (own, f"private.{tokens.uid(number)}.order")]
    publisher = Publisher(place.broker.url)
    try:
        for clients in (place.others, place.traced):
            clients.expect(events, seconds + 30)
        before = processes.cpu_seconds(pids)
        publisher.publish(keys, 2 * events, 2 * RATE)
        got, got_traced = place.others.received(), place.traced.received()
        cpu = processes.cpu_seconds(pids) - before
    finally:
        publisher.close()
    if (got.frames, got_traced.frames) != (events, events):
        raise RuntimeError(f"{got.frames} and {got_traced.frames} of {events} frames came")
    lines = 0
    if tracer is not None:
        tracer.until(lambda: len(tracer.of("delivered")) >= events, "every delivery is shown")
        lines = len(tracer.of("delivered"))
        if lines != events or tracer.of("omitted"):
            raise RuntimeError(f"the trace has {lines} lines for {events} events, and {len(tracer.of('omitted'))} gaps")
    return Figures(cpu / seconds, got.p50 / 1000, got.p99 / 1000, lines)


def _table(found: dict[str, list[Figures]]) -> str:
    rows = [("", "CPU of the worker", "p50, ms", "p99, ms (each run)", "lines")]
    for way, runs in found.items():
        cpu, p50 = (statistics.median(getattr(run, name) for run in runs) for name in ("cpu", "p50"))
        each = ", ".join(f"{run.p99:.2f}" for run in runs)
        p99 = f"{statistics.median(run.p99 for run in runs):.2f} ({each})"
        rows.append((way, f"{cpu:.1%}", f"{p50:.2f}", p99, ", ".join(str(run.lines) for run in runs)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def run(folder: Path, seconds: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure each way in turns, with the same connections."""
    broker, redis = RabbitMQ(folder / "broker"), Redis(folder / "redis")
    keys, found = tokens.make(folder, OTHERS + 1), dict[str, list[Figures]]()
    one, public = folder / "one", base64.b64encode(keys.public_key.read_bytes()).decode()
    one.write_text(keys.tokens.read_text().splitlines()[OTHERS] + "\n")
    gateway = None
    try:
        gateway = GatewayProcess(folder, {"AMQP_URL": broker.url, "REDIS_URL": redis.url, "JWT_PUBLIC_KEY": public})
        program = native_code.build("clients", folder)
        with Clients(program, keys.tokens, OTHERS) as others, Clients(program, one, 1) as traced:
            others.open(gateway.port, "/", OTHERS, 1)
            traced.open(gateway.port, "/", 1, 0)
            place = Place(broker, redis, gateway, others, traced)
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
