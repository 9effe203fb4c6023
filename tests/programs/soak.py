"""Clients that connect and disconnect under steady traffic, for a long time, and must leave nothing behind.

    python -m tests.programs.soak [--seconds 600] [--clients 2000] [--rate 1700] [--tls]

Prints a line every ten seconds, and at the end the worker's resources before the crowd connected and after it left.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import WAIT_SECONDS, RabbitMQ, scratch, wait_until
from tests.support.swarm import Swarm

TURNOVER = 0.02
"""Share of the clients that disconnects and is replaced each second."""


class Place(NamedTuple):
    """A gateway, and what its clients need."""

    gateway: GatewayProcess
    tls: ssl.SSLContext | None

    def held(self) -> dict[str, int]:
        """Return the worker's resources."""
        return held(self.gateway, self.tls)


def held(gateway: GatewayProcess, tls: ssl.SSLContext | None = None) -> dict[str, int]:
    """Return the resources of the worker of a `soak_app`."""
    url = f"http{'s' if tls else ''}://localhost:{gateway.port}/"
    with urllib.request.urlopen(url, timeout=30, context=tls) as answer:
        return dict(json.load(answer))


def soak(
    folder: Path, broker: RabbitMQ, seconds: float, clients: int, rate: int, least: int = 0, tls: bool = False
) -> tuple[dict[str, int], dict[str, int], int]:
    """Run it until the time is over and clients have received at least `least` events.

    Returns the worker's resources before and after, and the number of events.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signer = Signer("ES256")
    tokens = [signer.token(f"ID{number}") for number in range(clients)]
    # The history is bounded, and full after the first crowd.
    environ = {"AMQP_URL": broker.url, **signer.environ, "LOG_LEVEL": "warning", "WEBSOCKET_RESUME_BYTES": "200000"}
    files = Certificate(folder / "soak-tls") if tls else None
    command = ("gunicorn", "tests.support.apps.soak_app")
    gateway = GatewayProcess(folder, {**environ, **(files.environ if files else {})}, command)
    place = Place(gateway, files.trusted() if files else None)
    over = threading.Event()
    publisher = threading.Thread(target=_publish, args=(broker.url, clients, rate, over))
    try:
        # The first crowd fills what grows only once: the interpreter's free lists, caches, last order states.
        with Swarm() as swarm:
            swarm.add(gateway.port, tokens, tls=place.tls)
            publisher.start()
            got = _crowd(swarm, place, tokens, min(seconds / 4, 60))
        wait_until(lambda: place.held()["connections"] == 0, "the first crowd has gone")
        before = place.held()
        with Swarm() as swarm:
            swarm.add(gateway.port, tokens, tls=place.tls)
            got += _crowd(swarm, place, tokens, seconds, least)
        over.set()
        publisher.join()
        wait_until(lambda: place.held()["connections"] == 0, "the crowd has gone")
        return before, place.held(), got
    finally:
        over.set()
        gateway.stop()


def _publish(url: str, clients: int, rate: int, over: threading.Event) -> None:
    with Publisher(url, confirm=False) as publisher:
        began, sent = time.monotonic(), 0
        while not over.is_set():
            due = int((time.monotonic() - began) * rate)
            for number in range(sent, due):
                publisher.order(
                    f"ID{number % clients}", number % clients
                )  # no more different orders than are remembered
            sent = due
            over.wait(0.02)


def _crowd(swarm: Swarm, place: Place, tokens: list[str], seconds: float, least: int = 0) -> int:
    """Connect and disconnect clients. Return how many events they received."""
    began = shown = left = time.monotonic()
    got, shortest = 0, 0.2
    while (now := time.monotonic()) < began + seconds or got < least:
        assert now < began + seconds + WAIT_SECONDS, f"only {got} events"
        swarm.turn(0.02)
        if now - left > shortest:
            count = max(1, round(len(swarm.clients) * TURNOVER * (now - left)))
            left = now
            got += swarm.drop(random.sample(swarm.clients, count))
            swarm.add(place.gateway.port, random.sample(tokens, count), tls=place.tls)
        if now - shown > 10:
            shown = now
            total = got + sum(len(client.texts) for client in swarm.clients)
            print(f"{now - began:5.0f} s  {total:9,} events  {place.held()}", flush=True)
    return got + swarm.drop(swarm.clients)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=1700, help="events a second")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with scratch() as folder:
        print(f"starting a broker and a gateway; {options.clients:,} clients for {options.seconds:g} s", flush=True)
        broker = RabbitMQ(folder / "rabbitmq")
        try:
            before, after, got = soak(folder, broker, options.seconds, options.clients, options.rate, tls=options.tls)
        finally:
            broker.close()
    print(f"{got:,} events\nbefore {before}\nafter  {after}")
    return 0 if is_back(before, after) else 1


def is_back(before: dict[str, int], after: dict[str, int]) -> bool:
    """Return whether nothing was left behind: the same counts, and memory equal except for an allocator's noise."""
    counts = ("greenlets", "descriptors", "register", "connections", "seats")
    return all(after[name] <= before[name] + 2 for name in counts) and after["kilobytes"] < before["kilobytes"] * 1.03


if __name__ == "__main__":
    sys.exit(main())
