"""Measure how tracing one of 1,000 clients affects the other 999.

    python -m bench.trace [--seconds 10] [--rounds 3]

The traced client receives 200 private events per second, and the others together receive another 200. Prints a table of
the worker's CPU and the others' latencies, without and with a trace. Fails if the trace does not have a line for every
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
MEASUREMENTS = {"no trace": None, "traced": (), "traced with --bodies": ("--bodies",)}
"""The measurements, with the options of `peatio-ws trace`; None for no trace."""


class Setup(NamedTuple):
    """The servers and clients that the measurements share. The traced member has the number `OTHERS`."""

    broker: RabbitMQ
    redis: Redis
    gateway: GatewayProcess
    others: Clients
    traced: Clients


class Figures(NamedTuple):
    """The result of a measurement.

    Attributes:
        cpu: of the worker, as a share of a core.
        p50, p99: latency of the others' events, from publication to arrival, in milliseconds.
        lines: deliveries that the trace shows; 0 without a trace.
    """

    cpu: float
    p50: float
    p99: float
    lines: int


def measure(setup: Setup, seconds: int, options: tuple[str, ...] | None) -> Figures:
    """Publish events, and measure the worker and the other clients.

    Args:
        options: of `peatio-ws trace`; None to measure without a trace.
    """
    if options is None:
        return _publish(setup, seconds, None)
    with Tracer(setup.redis.url, tokens.uid(OTHERS), *options) as tracer:
        tracer.until(lambda: tracer.of("connection"), "the trace shows the client")
        figures = _publish(setup, seconds, tracer)
    wait_until(lambda: _logged(setup, "began") == _logged(setup, "ended"), "the worker ended the trace")
    return figures


def _logged(setup: Setup, what: str) -> int:
    return setup.gateway.log().count(f'"operator trace {what}"')


def _publish(setup: Setup, seconds: int, tracer: Tracer | None) -> Figures:
    events, pids = RATE * seconds, setup.gateway.workers()
    own = f"private.{tokens.uid(OTHERS)}.order"
    keys = [key for number in range(OTHERS) for key in (own, f"private.{tokens.uid(number)}.order")]
    publisher = Publisher(setup.broker.url)
    try:
        for clients in (setup.others, setup.traced):
            clients.expect(events, seconds + 30)
        before = processes.cpu_seconds(pids)
        publisher.publish(keys, 2 * events, 2 * RATE)
        got, got_traced = setup.others.received(), setup.traced.received()
        cpu = processes.cpu_seconds(pids) - before
    finally:
        publisher.close()
    if (got.frames, got_traced.frames) != (events, events):
        raise RuntimeError(
            f"of {events} frames each, {got.frames} arrived at the others and {got_traced.frames} at the traced client"
        )
    lines = 0
    if tracer is not None:
        tracer.until(lambda: len(tracer.of("delivered")) >= events, "the trace shows every delivery")
        lines = len(tracer.of("delivered"))
        if lines != events or tracer.of("omitted"):
            raise RuntimeError(f"the trace has {lines} lines for {events} events and {len(tracer.of('omitted'))} gaps")
    return Figures(cpu / seconds, got.p50 / 1000, got.p99 / 1000, lines)


def _table(results: dict[str, list[Figures]]) -> str:
    rows = [("", "CPU of the worker", "p50, ms", "p99, ms (each run)", "lines")]
    for label, runs in results.items():
        cpu, p50 = (statistics.median(getattr(run, name) for run in runs) for name in ("cpu", "p50"))
        each = ", ".join(f"{run.p99:.2f}" for run in runs)
        p99 = f"{statistics.median(run.p99 for run in runs):.2f} ({each})"
        rows.append((label, f"{cpu:.1%}", f"{p50:.2f}", p99, ", ".join(str(run.lines) for run in runs)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def run(folder: Path, seconds: int, rounds: int) -> dict[str, list[Figures]]:
    """Measure without and with a trace in turn, over the same connections. Return the results by name."""
    broker, redis = RabbitMQ(folder / "broker"), Redis(folder / "redis")
    keys, results = tokens.make(folder, OTHERS + 1), dict[str, list[Figures]]()
    one, public = folder / "one", base64.b64encode(keys.public_key.read_bytes()).decode()
    one.write_text(keys.tokens.read_text().splitlines()[OTHERS] + "\n")
    gateway = None
    try:
        gateway = GatewayProcess(folder, {"AMQP_URL": broker.url, "REDIS_URL": redis.url, "JWT_PUBLIC_KEY": public})
        program = native_code.build("clients", folder)
        with Clients(program, keys.tokens, OTHERS) as others, Clients(program, one, 1) as traced:
            others.open(gateway.port, "/", OTHERS, 1)
            traced.open(gateway.port, "/", 1, 0)
            setup = Setup(broker, redis, gateway, others, traced)
            measure(setup, 1, None)  # warm-up
            for _ in range(rounds):
                for name, options in MEASUREMENTS.items():
                    results.setdefault(name, []).append(measure(setup, seconds, options))
                    print(f"{name}: {results[name][-1]}", flush=True)
    finally:
        if gateway is not None:
            gateway.stop()
        redis.kill()
        broker.close()
    return results


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="duration of a measurement [10]")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each measurement [3]")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 5000), hard))
    with scratch() as folder:
        print(_table(run(folder, options.seconds, options.rounds)))


if __name__ == "__main__":
    main()
