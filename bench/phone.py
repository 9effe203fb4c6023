"""Measure how old the order book on a phone with a slow connection is, with a view or with the book's increments.

    python -m bench.phone [--kbit 20] [--rate 500] [--minutes 2] [--stream=-top@20]

One gateway with one worker. The phone reads at the speed of its line and has a small receive buffer. The age of its
book is the time since the first change that it has not received. Prints percentiles of the age, without the first
quarter of the time, and whether the gateway closed the connection.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import socket
import statistics
import time
from typing import Final

from tests.support.followers import UNPINGED, Market
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, scratch

RECEIVE_BUFFER: Final = 2_048
"""Bytes."""
STEP_SECONDS: Final = 0.1
MARKET: Final = "phone.ob"


def arguments() -> argparse.Namespace:
    """Return the command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kbit", type=float, default=20.0, help="speed of the line, kbit/s")
    parser.add_argument("--rate", type=int, default=500, help="changes of the book per second")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--stream", default="-top@20", help="the part of the stream's name after the market")
    return parser.parse_args()


def connect(port: int, stream: str) -> socket.socket:
    """Return a non-blocking socket that subscribes to a stream. Does not wait for the answer to the handshake."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /public?stream={stream} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    sock.setblocking(False)
    return sock


def follow(port: int, publisher: Publisher, options: argparse.Namespace) -> tuple[list[float], float | None]:
    """Publish changes, and read slowly.

    Returns the ages in seconds, one per step, and the seconds until the gateway closed the connection; None if it did
    not.
    """
    market = Market(MARKET, count=2_000, levels=100)
    publisher.event(f"public.{MARKET}-snap", market.snapshots([0])[0])
    sock, budget, seen, rest = connect(port, f"{MARKET}{options.stream}"), 0.0, 0, b""
    published, ages = [time.monotonic()], list[float]()  # the time of each change's publication
    began = time.monotonic()
    until = began + options.minutes * 60
    while (now := time.monotonic()) < until:
        while len(published) <= (now - began) * options.rate:
            number = len(published)
            body = re.sub(rb'"sequence": \d+', b'"sequence": %d' % number, market.increments[number % market.last])
            publisher.event(f"public.{MARKET}-inc", body)
            published.append(time.monotonic())
        budget = min(budget + STEP_SECONDS * options.kbit * 125, 2 * STEP_SECONDS * options.kbit * 125)
        try:
            data = sock.recv(int(budget))
        except BlockingIOError:
            data = b""
        else:
            if not data:
                return ages, time.monotonic() - began
        budget -= len(data)
        rest = (rest + data)[-100_000:]
        if sequences := re.findall(rb'"sequence": ?(\d+)', rest):
            seen = max(seen, int(sequences[-1]))
        unseen = published[seen + 1] if seen + 1 < len(published) else now
        ages.append(now - unseen)
        time.sleep(STEP_SECONDS)
    sock.close()
    return ages, None


def main() -> None:
    """Run the command."""
    options, signer = arguments(), Signer()
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        # The phone does not answer pings.
        gateway = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **UNPINGED})
        try:
            with Publisher(broker.url, confirm=False) as publisher:
                ages, closed = follow(gateway.port, publisher, options)
        finally:
            gateway.stop()
            broker.close()
    steady = ages[len(ages) // 4 :]
    percentiles = statistics.quantiles(steady, n=100)
    end = "connected until the end" if closed is None else f"closed after {closed:.0f} s"
    print(
        f"{options.stream} at {options.kbit:g} kbit/s, {options.rate} changes/s: age p50 {percentiles[49]:.1f} s, "
        f"p99 {percentiles[98]:.1f} s, longest {max(steady):.1f} s; {end}"
    )


if __name__ == "__main__":
    main()
