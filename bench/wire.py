"""Counts the bytes of a recorded market, with and without compression. `python -m bench.wire [--minutes 10]`

Records the simulated market with a fixed seed, with tickers of 20 markets instead of one. Two gateways, `ws` and `wss`,
send the recording to clients of one stream each and to clients of all streams, with and without `permessage-deflate`.
Counts the bytes that TCP delivered to each client after its subscription, including TLS, from TCP_INFO. Runs differ by
a few bytes only: each step of the market is published after all clients have received the previous one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import selectors
import socket
import ssl
import time
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from bench.compression import LIMIT_SECONDS, STREAM, Client, tickers
from peatio_ws.simulator.simulation import STEP_SECONDS, Simulation
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, scratch

INCREMENTS: Final = "btcusd.ob-inc"
STREAMS: Final = (STREAM, "btcusd.trades", INCREMENTS, "btcusd.ob-snap")
BEGIN: Final = 1_712_345_678
"""Time of the first step, a Unix timestamp."""
VARIANTS: Final = [(scheme, compressed) for scheme in ("ws", "wss") for compressed in (False, True)]
Audience = tuple[str, ...]
"""The streams to which a client subscribes."""
AUDIENCES: Final[tuple[Audience, ...]] = (*((stream,) for stream in STREAMS), STREAMS)


class Event(NamedTuple):
    """A recorded message."""

    stream: str
    body: bytes


def recorded(minutes: float) -> list[list[Event]]:
    """Return the public messages of the market, by step."""
    market, chance, steps = Simulation(1, BEGIN), random.Random(1), []
    for number in range(int(minutes * 60 / STEP_SECONDS)):
        events = []
        for message in market.step(BEGIN + number * STEP_SECONDS):
            stream = message.routing_key.removeprefix("public.")
            if stream in STREAMS:
                body = {**tickers(chance), **message.body} if stream == STREAM else message.body
                events.append(Event(stream, json.dumps(body, separators=(",", ":")).encode()))
        steps.append(events)
    return steps


def tcp_bytes(client: Client) -> int:
    """Return the bytes that a client received over TCP: `tcpi_bytes_received` of struct tcp_info (linux/tcp.h)."""
    return int.from_bytes(client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[128:], "little")


def replay(steps: list[list[Event]], broker: RabbitMQ, clients: dict[Audience, list[Client]]) -> None:
    """Publish the recording, and wait until each client has received every message of its streams."""
    all_clients = [(streams, client) for streams, several in clients.items() for client in several]
    sent = Counter({INCREMENTS: 1})  # the book, sent before the first increment
    with selectors.DefaultSelector() as selector, Publisher(broker.url) as publisher:
        for _, client in all_clients:
            selector.register(client.sock, selectors.EVENT_READ, client)
        for events in steps:
            for event in events:
                publisher.event(f"public.{event.stream}", event.body)
                sent[event.stream] += 1
            deadline = time.monotonic() + LIMIT_SECONDS
            while any(client.frames < sum(sent[one] for one in streams) for streams, client in all_clients):
                assert time.monotonic() < deadline, "some messages did not arrive"
                for key, _ in selector.select(0.02):
                    key.data.read()


def measure(steps: list[list[Event]], folder: Path) -> dict[Audience, list[int]]:
    """Return the bytes of the clients of each audience, in the order of VARIANTS."""
    with contextlib.ExitStack() as stack:
        broker = RabbitMQ(folder / "broker")
        stack.callback(broker.stop)
        certificate = Certificate(folder)
        tls: dict[str, ssl.SSLContext | None] = {"ws": None, "wss": certificate.trusted()}
        environ = {**Signer().environ, **broker.environ("amqp"), "LOG_LEVEL": "warning"}
        secure = {"WEBSOCKET_SSL_CERT": str(certificate.cert), "WEBSOCKET_SSL_KEY": str(certificate.key)}
        ports = {}
        for scheme, more in (("ws", {}), ("wss", secure)):
            gateway = GatewayProcess(folder, environ | more)
            stack.callback(gateway.stop)
            ports[scheme] = gateway.port
        clients = {
            streams: [Client(ports[scheme], compressed, tls[scheme], streams) for scheme, compressed in VARIANTS]
            for streams in AUDIENCES
        }
        for client in (client for several in clients.values() for client in several):
            stack.callback(client.sock.close)
        before = {streams: list(map(tcp_bytes, several)) for streams, several in clients.items()}
        replay(steps, broker, clients)
        for streams, several in clients.items():
            assert len({client.last_text() for client in several}) == 1, (
                f"{streams}: the clients received different last texts"
            )
        return {
            streams: [tcp_bytes(client) - was for client, was in zip(several, before[streams], strict=True)]
            for streams, several in clients.items()
        }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.wire", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the recording [10]")
    steps = recorded(parser.parse_args().minutes)
    texts = [event for events in steps for event in events]
    with scratch() as folder:
        sizes_by_audience = measure(steps, folder)
    print("| stream | messages | bytes of a message | ws | ws, compressed | wss | wss, compressed |")
    print("| --- |" + " ---: |" * 6)
    for streams, sizes in sizes_by_audience.items():
        bodies = [len(event.body) for event in texts if event.stream in streams]
        name = f"`{streams[0]}`" if len(streams) == 1 else "all of them on one connection"
        kilobytes = " | ".join(f"{size / 1000:,.0f} KB" for size in sizes)
        print(f"| {name} | {len(bodies):,} | {sum(bodies) / len(bodies):,.0f} | {kilobytes} |")


if __name__ == "__main__":
    main()
