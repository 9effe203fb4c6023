"""Measure how anonymous clients affect others: by subscribing to unused names, and by floods of control frames.

    python -m bench.strangers names [--connections 5000] [--same]
    python -m bench.strangers pongs [--connections 100]

`names`: each connection subscribes to 200 invented `-inc` streams, with `--same` all to the same 200. Prints the
worker's memory and the latency of another client's pings, before these connections open and after they have subscribed.
A long ping shows a blocked event loop.

`pongs`: each connection sends empty pongs at 60 KB/s, and one more sends 3 MB/s. Prints the latency of a member's
orders without and with these floods.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import statistics
import time
from pathlib import Path

from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.raw_client import PING, PONG, RawClient, frame, text
from tests.support.servers import RabbitMQ, scratch

NAMES = 200
"""Streams per connection."""
SECONDS = 10.0
"""Duration of a measurement."""
EVERY = 0.005
"""Pause between two orders, in seconds."""
SLOW, FAST = 60_000, 3_000_000
"""Rates of floods, in bytes of pongs per second."""
STEP = 0.05
"""Pause between two writes of a flood, in seconds."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.strangers", description=__doc__)
    parser.add_argument("what", choices=["names", "pongs"], help="what the anonymous clients send")
    parser.add_argument("--connections", type=int, help="anonymous clients [names: 5000, pongs: 100]")
    parser.add_argument("--same", action="store_true", help="all connections subscribe to the same streams")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signer = Signer()
    with scratch() as folder, contextlib.ExitStack() as stack:
        broker = RabbitMQ(folder / "broker")
        stack.callback(broker.stop)
        environ = {**signer.environ, **broker.environ("amqp"), "LOG_LEVEL": "warning"}
        gateway = GatewayProcess(folder, environ)
        stack.callback(gateway.stop)
        if options.what == "names":
            names(gateway, options.connections or 5_000, options.same)
        else:
            pongs(gateway, broker, signer, options.connections or 100)


def summary(seconds: list[float]) -> str:
    """Return the count and percentiles of these latencies."""
    milliseconds = sorted(one * 1000 for one in seconds)
    p50, p99 = statistics.median(milliseconds), milliseconds[int(len(milliseconds) * 0.99)]
    return f"{len(seconds)} measured: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {milliseconds[-1]:.1f} ms"


def megabytes(gateway: GatewayProcess) -> float:
    """Return the worker's memory (PSS)."""
    (worker,) = gateway.workers()
    rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def pings(client: RawClient, seconds: float = SECONDS) -> list[float]:
    """Send pings. Return the seconds until each pong."""
    latencies, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        client.send(frame(PING))
        while (answer := client.next()) is not None and answer.opcode != PONG:
            pass
        latencies.append(time.monotonic() - began)
        time.sleep(EVERY * 10)  # at most twenty per second, which the limits of the gateway allow
    return latencies


def names(gateway: GatewayProcess, connections: int, same: bool) -> None:
    """Measure subscriptions to unused names."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(RawClient(gateway.port)).upgrade("/public?stream=btcusd.trades")
        print(f"without subscriptions: {megabytes(gateway):.0f} MB; pings {summary(pings(other))}", flush=True)
        number = 0
        for _ in range(connections):
            client = stack.enter_context(RawClient(gateway.port)).upgrade("/public")
            client.send(text({"event": "subscribe", "streams": [f"m.{number + one}-inc" for one in range(NAMES)]}))
            number += 0 if same else NAMES
            while (answer := client.next()) is not None and b"subscribed" not in answer.payload:
                pass
        time.sleep(2)
        clients = f"{connections} clients of {NAMES} names each"
        print(f"with {clients}: {megabytes(gateway):.0f} MB; pings {summary(pings(other))}", flush=True)


def flood(port: int, connections: int, rate: int, ready: object, end: object) -> None:
    """Open connections and send empty pongs on each until `end` is set.

    Args:
        rate: bytes per second on each connection.
        ready: set when all connections are open.
    """
    clients = [RawClient(port).upgrade("/public?stream=btcusd.trades") for _ in range(connections)]
    chunk = frame(PONG) * (int(rate * STEP) // len(frame(PONG)))
    ready.set()  # type: ignore[attr-defined]
    ended = 0
    while not end.is_set():  # type: ignore[attr-defined]
        began = time.monotonic()
        for client in list(clients):
            try:
                client._sock.setblocking(False)
                client._sock.send(chunk)
            except BlockingIOError:
                pass
            except OSError:
                clients.remove(client)
                ended += 1
        time.sleep(max(0.0, began + STEP - time.monotonic()))
    print(f"{ended} of {connections} floods at {rate} B/s were disconnected", flush=True)


def pongs(gateway: GatewayProcess, broker: RabbitMQ, signer: Signer, connections: int) -> None:
    """Measure floods of pongs."""
    with gateway.member(signer.token("IDANN")) as ann, Publisher(broker.url) as publisher:

        def orders() -> list[float]:
            latencies, until, number = [], time.monotonic() + SECONDS, 0
            while time.monotonic() < until:
                number += 1
                began = time.monotonic()
                publisher.order("IDANN", number)
                assert receive(ann)["orderbook"]["id"] == number
                latencies.append(time.monotonic() - began)
                time.sleep(EVERY)
            return latencies

        print(f"without floods: orders {summary(orders())}", flush=True)
        context = multiprocessing.get_context("spawn")
        end = context.Event()
        floods = []
        for count, rate in ((connections, SLOW), (1, FAST)):
            ready = context.Event()
            floods.append(context.Process(target=flood, args=(gateway.port, count, rate, ready, end)))
            floods[-1].start()
            ready.wait()
        print(f"with floods: orders {summary(orders())}", flush=True)
        end.set()
        for process in floods:
            process.join(10)


if __name__ == "__main__":
    main()
