"""Measure what views of an order book cost: 1,000 followers, 800 levels, 500 changes per second.

    python -m bench.views [--clients 1000] [--rate 500] [--seconds 5] [--rounds 3]

One gateway with one worker. Each round publishes the same changes several times: without followers, with followers of
`-inc`, and with followers of each view. Prints the worker's CPU time and the bytes per client, both also as shares of
those of `-inc`, the frames per client, and the CPU time per frame sent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import resource
import selectors
import socket
import statistics
import time
from typing import Final, NamedTuple

from bench import processes
from tests.support.followers import Feeding, Market
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, scratch

SUFFIXES: Final = ("", "-inc", "-inc@100ms", "-inc@250ms", "-inc@1000ms", "-top@20", "-top@20/100ms", "-top@5/1000ms")
LIMIT_SECONDS: Final = 120.0
QUIET_SECONDS: Final = 1.5
"""After this time without data, the clients have received everything."""
LEVELS: Final = 400
"""Price levels of each side."""
TYPICAL_DEPTH: Final = 15
"""Average distance of a change from the best price, in levels."""


def arguments() -> argparse.Namespace:
    """Return the command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000, help="followers [1000]")
    parser.add_argument("--rate", type=int, default=500, help="changes per second [500]")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of changes [5]")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; medians are printed [3]")
    return parser.parse_args()


class TradedMarket(Market):
    """A market whose prices change more often near the best price, as on a real exchange."""

    def _change(self, levels: int) -> dict[str, list[list[str]]]:
        side = self._random.choice(("asks", "bids"))
        step = min(int(self._random.expovariate(1 / TYPICAL_DEPTH)), levels - 1) / 10
        volume = self._random.choice(("0", "1.5", "2", f"{self._random.random():.8f}"))
        return {side: [[f"{100 + step if side == 'asks' else 99.9 - step:.2f}", volume]]}


class Totals(NamedTuple):
    """Totals of a run. The first book does not count.

    Attributes:
        cpu: CPU seconds of the worker.
        sent: bytes that each client received, on average.
        frames: frames that the first client received.
    """

    cpu: float
    sent: float
    frames: float


class Readers:
    """Clients in one thread that count the bytes that they receive."""

    def __init__(self, port: int, count: int, stream: str) -> None:
        self.received = 0
        self._selector = selectors.DefaultSelector()
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS, (f"127.0.4.{number % 250 + 1}", 0))
            key = base64.b64encode(os.urandom(16)).decode()
            sock.sendall(
                f"GET /public?stream={stream} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, number)
        self.first = b""  # what the first client received

    def read(self, until_quiet: float) -> None:
        """Read until no data has arrived for this many seconds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while ready := self._selector.select(until_quiet):
            for key, _ in ready:
                data = key.fileobj.recv(262_144)  # type: ignore[union-attr]
                if not data:
                    raise ConnectionError("the gateway closed a client's connection")
                self.received += len(data)
                if key.data == 0:
                    self.first += data
            if time.monotonic() > deadline:
                raise TimeoutError(f"still sending after {LIMIT_SECONDS:g} s")

    def close(self) -> None:
        """Close all connections."""
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def run(gateway: GatewayProcess, broker: RabbitMQ, market: Market, suffix: str, options: argparse.Namespace) -> Totals:
    """Publish all changes once, and return what the worker used and sent.

    Args:
        suffix: of the stream that the clients follow; empty to run without clients.
    """
    with Publisher(broker.url) as publisher:
        publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    stream = f"{market.name}{suffix}"
    readers = Readers(gateway.port, options.clients if suffix else 0, stream)
    with contextlib.closing(readers):
        if suffix:
            readers.read(QUIET_SECONDS)
        before, readers.received, readers.first = processes.cpu_seconds(gateway.workers()), 0, b""
        with Feeding(broker.url, market, options.rate, snapshots=()) as feeding:
            while feeding.sent < market.last:
                if suffix:
                    readers.read(0.01)
                else:
                    time.sleep(0.01)
            if suffix:
                readers.read(QUIET_SECONDS)
            else:
                time.sleep(QUIET_SECONDS)
        cpu = processes.cpu_seconds(gateway.workers()) - before
        frames = readers.first.count(f'{{"{stream}":'.encode())
        return Totals(cpu, readers.received / options.clients, frames)


def main() -> None:
    """Run the command."""
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, options.clients + 1_000)), hard))
    changes = options.rate * options.seconds
    results: dict[str, list[Totals]] = {suffix: [] for suffix in SUFFIXES}
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        signer = Signer()
        environ = {"AMQP_URL": broker.url, **signer.environ, "WEBSOCKET_OUTBOX_BYTES": str(2**26)}
        gateway = GatewayProcess(folder, environ)
        try:
            for round_ in range(options.rounds):
                for suffix in SUFFIXES:
                    market = TradedMarket(f"bench{round_}{SUFFIXES.index(suffix)}.ob", changes, LEVELS)
                    results[suffix].append(run(gateway, broker, market, suffix, options))
        finally:
            gateway.stop()
            broker.close()
    medians = {
        suffix: [statistics.median(part) for part in zip(*runs, strict=True)] for suffix, runs in results.items()
    }
    idle, increments = medians[""][0], medians["-inc"]
    load = f"{options.clients} followers, {changes} changes at {options.rate} per second"
    print(f"{load}, medians of {options.rounds} rounds")
    print(f"{'stream':15} {'CPU s':>7} {'of -inc':>8} {'bytes':>9} {'of -inc':>8} {'frames':>7} {'µs a frame':>10}")
    for suffix, (cpu, sent, frames) in medians.items():
        sends = frames * options.clients
        print(
            f"{suffix or 'no followers':15} {cpu:7.2f} {cpu / increments[0]:8.3f} "
            f"{sent:9.0f} {sent / increments[1]:8.3f} {frames:7.0f} {(cpu - idle) / sends * 1e6 if sends else 0:10.2f}"
        )


if __name__ == "__main__":
    main()
