"""What views of a book cost: 1,000 followers of a book of 800 levels that changes 500 times a second.

    python -m bench.views [--clients 1000] [--rate 500] [--seconds 5] [--rounds 3]

One gateway of one worker. Each round follows the same changes in turns: by nobody, by `-inc`, and by views. Prints the
CPU of the worker and the bytes that it sends, for each change and for each frame, and both as shares of `-inc`.
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

FOLLOWED: Final = ("", "-inc", "-inc@100ms", "-inc@250ms", "-inc@1000ms", "-top@20", "-top@20/100ms", "-top@5/1000ms")
LIMIT_SECONDS: Final = 120.0
QUIET_SECONDS: Final = 1.5
"""So long after the last byte nothing more comes."""
LEVELS: Final = 400
"""Of each side."""
TYPICAL_DEPTH: Final = 15
"""Changes are this many levels away from the best price, on average."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=500, help="changes a second")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


class TradedMarket(Market):
    """A market whose prices change the more often the better they are, as where orders meet."""

    def _change(self, levels: int) -> dict[str, list[list[str]]]:
        side = self._random.choice(("asks", "bids"))
        step = min(int(self._random.expovariate(1 / TYPICAL_DEPTH)), levels - 1) / 10
        volume = self._random.choice(("0", "1.5", "2", f"{self._random.random():.8f}"))
        return {side: [[f"{100 + step if side == 'asks' else 99.9 - step:.2f}", volume]]}


class Taken(NamedTuple):
    """Totals of one run.

    Attributes:
        cpu: seconds of the worker.
        sent: bytes that a client received, without the first book.
        frames: how many frames a client received, without the first book.
    """

    cpu: float
    sent: float
    frames: float


class Readers:
    """Clients that count what they receive, in one thread."""

    def __init__(self, port: int, count: int, stream: str) -> None:
        self.received, self._frames = 0, 0
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
        """Read until nothing has come for this many seconds."""
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
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def run(gateway: GatewayProcess, broker: RabbitMQ, market: Market, followed: str, options: argparse.Namespace) -> Taken:
    """Publish all changes once."""
    with Publisher(broker.url) as publisher:
        publisher.event(f"public.{market.name}-snap", market.snapshots([0])[0])
    stream = f"{market.name}{followed}"
    readers = Readers(gateway.port, options.clients if followed else 0, stream)
    with contextlib.closing(readers):
        if followed:
            readers.read(QUIET_SECONDS)
        before, readers.received, readers.first = processes.cpu_seconds(gateway.workers()), 0, b""
        with Feeding(broker.url, market, options.rate, snapshots=()) as feeding:
            while feeding.sent < market.last:
                if followed:
                    readers.read(0.01)
                else:
                    time.sleep(0.01)
            if followed:
                readers.read(QUIET_SECONDS)
            else:
                time.sleep(QUIET_SECONDS)
        cpu = processes.cpu_seconds(gateway.workers()) - before
        frames = readers.first.count(f'{{"{stream}":'.encode())
        return Taken(cpu, readers.received / options.clients, frames)


def main() -> None:
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, options.clients + 1_000)), hard))
    changes = options.rate * options.seconds
    results: dict[str, list[Taken]] = {followed: [] for followed in FOLLOWED}
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        signer = Signer()
        environ = {"AMQP_URL": broker.url, **signer.environ, "WEBSOCKET_OUTBOX_BYTES": str(2**26)}
        gateway = GatewayProcess(folder, environ)
        try:
            for round_ in range(options.rounds):
                for followed in FOLLOWED:
                    market = TradedMarket(f"bench{round_}{FOLLOWED.index(followed)}.ob", changes, LEVELS)
                    results[followed].append(run(gateway, broker, market, followed, options))
        finally:
            gateway.stop()
            broker.close()
    whole = {
        followed: [statistics.median(part) for part in zip(*taken, strict=True)] for followed, taken in results.items()
    }
    idle, all_of_it = whole[""][0], whole["-inc"]
    print(
        f"{options.clients} followers, {changes} changes at {options.rate} a second, {options.rounds} rounds, medians"
    )
    print(f"{'followed':15} {'CPU s':>7} {'of -inc':>8} {'bytes':>9} {'of -inc':>8} {'frames':>7} {'µs a send':>10}")
    for followed, (cpu, sent, frames) in whole.items():
        sends = frames * options.clients
        print(
            f"{followed or 'nobody':15} {cpu:7.2f} {cpu / all_of_it[0]:8.3f} {sent:9.0f} {sent / all_of_it[1]:8.3f} "
            f"{frames:7.0f} {(cpu - idle) / sends * 1e6 if sends else 0:10.2f}"
        )


if __name__ == "__main__":
    main()
