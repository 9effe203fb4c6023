"""Measure the bytes that compression saves, and its CPU.

    python -m bench.compression [--clients 1000] [--rate 4] [--seconds 8] [--rounds 3] [--tls]

A gateway with one worker sends tickers of 20 markets (5 KB, different prices in each event) to all clients. Each round
measures clients that offer `permessage-deflate` as browsers do, and clients without compression; the order alternates.
Prints the bytes of a delivery and the CPU time of the worker for it, with and without compression.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import random
import resource
import selectors
import socket
import ssl
import statistics
import time
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench import processes
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, scratch

STREAM: Final = "global.tickers"
OFFER: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
LIMIT_SECONDS: Final = 60.0
"""Time limit for connecting, and for the deliveries after the last event is due."""
MARKETS: Final = [f"{base}{quote}" for base in "btc eth ltc xrp trx".split() for quote in "usd eur usdt gbp".split()]


class Delivery(NamedTuple):
    """Means per delivery of one run.

    Attributes:
        size: bytes, including the frame's header.
        cpu: CPU time of the worker, in microseconds.
    """

    size: float
    cpu: float


def tickers(chance: random.Random) -> dict[str, dict[str, str | int]]:
    """Return a message of Peatio's `global.tickers`, with random but realistic prices and volumes."""
    message = {}
    for market in MARKETS:
        last = chance.uniform(0.05, 70_000)
        low, high = last * chance.uniform(0.9, 1), last * chance.uniform(1, 1.1)
        message[market] = {
            "name": f"{market[:3].upper()}/{market[3:].upper()}",
            "base_unit": market[:3],
            "quote_unit": market[3:],
            "at": 1_712_345_678,
            "low": f"{low:.2f}",
            "high": f"{high:.2f}",
            "last": f"{last:.2f}",
            "open": f"{chance.uniform(low, high):.2f}",
            "avg_price": f"{chance.uniform(low, high):.4f}",
            "volume": f"{chance.uniform(0, 900):.4f}",
            "amount": f"{chance.uniform(0, 900):.4f}",
            "price_change_percent": f"{chance.uniform(-9, 9):+.2f}%",
        }
    return message


class Client:
    """One connection that counts the text frames it receives."""

    def __init__(
        self, port: int, compressed: bool, tls: ssl.SSLContext | None, streams: Sequence[str] = (STREAM,)
    ) -> None:
        sock = socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS)
        self.sock = tls.wrap_socket(sock, server_hostname="localhost") if tls else sock
        request = (
            f"GET /?stream={'&stream='.join(streams)} HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        )
        self.sock.sendall(f"{request}{OFFER if compressed else ''}\r\n".encode())
        self._rest, self.frames, self.bytes = b"", 0, 0
        while b"\r\n\r\n" not in self._rest:
            self._rest += self.sock.recv(65_536)
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        assert (b"permessage-deflate" in head) is compressed, head
        self.last = b""
        self._count(self._rest)  # the answer to the subscription may have arrived already
        while not self.frames:
            self.read()
        self.frames = self.bytes = 0
        self.sock.setblocking(False)

    def read(self) -> None:
        """Read and count the data that has arrived."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while True:
                data = self.sock.recv(65_536)
                assert data, "the gateway closed the connection"
                self._count(self._rest + data)
                if len(data) < 16_384:
                    return

    def _count(self, data: bytes) -> None:
        at = 0
        while len(data) >= at + 4:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), at + 4
            if len(data) < start + size:
                break
            if data[at] & 15 == 1:
                self.frames, self.bytes = self.frames + 1, self.bytes + start + size - at
                self.last = data[at : start + size]
            at = start + size
        self._rest = data[at:]

    def last_text(self) -> bytes:
        """Return the text of the last frame, decompressed if necessary."""
        payload = self.last[4 if self.last[1] == 126 else 2 :]
        if self.last[0] & 0x40:
            return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        return payload


def run(
    gateway: GatewayProcess, broker: RabbitMQ, options: argparse.Namespace, tls: ssl.SSLContext | None, compressed: bool
) -> Delivery:
    """Open the clients, publish the events, and wait until each client has received all of them."""
    clients = [Client(gateway.port, compressed, tls) for _ in range(options.clients)]
    chance, events = random.Random(1), int(options.rate * options.seconds)
    (worker,) = gateway.workers()
    try:
        with selectors.DefaultSelector() as selector, Publisher(broker.url) as publisher:
            for client in clients:
                selector.register(client.sock, selectors.EVENT_READ, client)
            time.sleep(0.5)
            began, used, sent, body = time.monotonic(), processes.cpu_seconds([worker]), 0, {}
            while sum(client.frames for client in clients) < events * len(clients):
                now = time.monotonic()
                if sent < events and now >= began + sent / options.rate:
                    body = tickers(chance)
                    publisher.event(f"public.{STREAM}", json.dumps(body, separators=(",", ":")).encode())
                    sent += 1
                assert now < began + options.seconds + LIMIT_SECONDS, "not all events arrived"
                for key, _ in selector.select(0.02):
                    key.data.read()
            used = processes.cpu_seconds([worker]) - used
        assert all(json.loads(client.last_text()) == {STREAM: body} for client in clients)
        deliveries = events * len(clients)
        return Delivery(sum(client.bytes for client in clients) / deliveries, used / deliveries * 1e6)
    finally:
        for client in clients:
            client.sock.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compression", description=__doc__)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=4.0, help="events per second [4]")
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of publishing in each run [8]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tls", action="store_true", help="use wss instead of ws")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    runs: dict[bool, list[Delivery]] = {False: [], True: []}
    with scratch() as folder, contextlib.ExitStack() as stack:
        broker = RabbitMQ(folder / "broker")
        stack.callback(broker.stop)
        environ = {**Signer().environ, **broker.environ("amqp"), "LOG_LEVEL": "warning"}
        tls = None
        if options.tls:
            certificate = Certificate(folder)
            tls = certificate.trusted()
            environ |= {"WEBSOCKET_SSL_CERT": str(certificate.cert), "WEBSOCKET_SSL_KEY": str(certificate.key)}
        gateway = GatewayProcess(folder, environ)
        stack.callback(gateway.stop)
        for number in range(options.rounds):
            for compressed in (False, True) if number % 2 == 0 else (True, False):
                delivery = run(gateway, broker, options, tls, compressed)
                runs[compressed].append(delivery)
                how = "compressed" if compressed else "uncompressed"
                print(f"round {number + 1}, {how}: {delivery.size:.0f} bytes, {delivery.cpu:.2f} µs", flush=True)
    (size, cpu), (compressed_size, compressed_cpu) = (
        tuple(statistics.median(one[place] for one in runs[how]) for place in (0, 1)) for how in (False, True)
    )
    print("medians per delivery:")
    print(f"without compression: {size:.0f} bytes, {cpu:.2f} µs")
    print(f"with compression: {compressed_size:.0f} bytes, {compressed_cpu:.2f} µs")
    print(f"ratio: bytes {compressed_size / size:.2f}, CPU {compressed_cpu / cpu:.2f}")


if __name__ == "__main__":
    main()
