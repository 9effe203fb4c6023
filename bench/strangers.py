"""What anonymous clients cost everybody else: names that nobody publishes, and floods of control frames.

    python -m bench.strangers names [--connections 5000] [--same]
    python -m bench.strangers pongs [--connections 100]

`names`: each of so many connections subscribes to 200 invented `-inc` streams, with `--same` all to the same. Prints
the memory of the worker, and how long a ping of somebody else takes before and after they have come: the longest is the
longest stall of the loop.

`pongs`: each of so many connections sends empty pongs at 60 KB/s, and one sends 3 MB/s. Prints the latency of orders
of a member without and with them.
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
SECONDS = 10.0
EVERY = 0.005
SLOW, FAST = 60_000, 3_000_000
"""Bytes of pongs a second."""
STEP = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.strangers", description=__doc__)
    parser.add_argument("what", choices=["names", "pongs"])
    parser.add_argument("--connections", type=int)
    parser.add_argument("--same", action="store_true")
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


def shown(seconds: list[float]) -> str:
    milliseconds = sorted(one * 1000 for one in seconds)
    p50, p99 = statistics.median(milliseconds), milliseconds[int(len(milliseconds) * 0.99)]
    return f"{len(seconds)} times: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {milliseconds[-1]:.1f} ms"


def megabytes(gateway: GatewayProcess) -> float:
    (worker,) = gateway.workers()
    rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def pings(client: RawClient, seconds: float = SECONDS) -> list[float]:
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        client.send(frame(PING))
        while (answer := client.next()) is not None and answer.opcode != PONG:
            pass
        found.append(time.monotonic() - began)
        time.sleep(EVERY * 10)  # twenty a second, which any limit allows
    return found


def names(gateway: GatewayProcess, connections: int, same: bool) -> None:
    with contextlib.ExitStack() as stack:
        honest = stack.enter_context(RawClient(gateway.port)).upgrade("/public?stream=btcusd.trades")
        print(f"without them: {megabytes(gateway):.0f} MB; pings {shown(pings(honest))}", flush=True)
        number = 0
        for _ in range(connections):
            client = stack.enter_context(RawClient(gateway.port)).upgrade("/public")
            client.send(text({"event": "subscribe", "streams": [f"m.{number + one}-inc" for one in range(NAMES)]}))
            number += 0 if same else NAMES
            while (answer := client.next()) is not None and b"subscribed" not in answer.payload:
                pass
        time.sleep(2)
        print(
            f"with {connections} times {NAMES} names: {megabytes(gateway):.0f} MB; pings {shown(pings(honest))}",
            flush=True,
        )


def flood(port: int, connections: int, rate: int, ready: object, end: object) -> None:
    """Send empty pongs on so many connections, each at so many bytes a second, until told to stop."""
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
    print(f"of {connections} floods at {rate} B/s {ended} were disconnected", flush=True)


def pongs(gateway: GatewayProcess, broker: RabbitMQ, signer: Signer, connections: int) -> None:
    with gateway.member(signer.token("IDANN")) as ann, Publisher(broker.url) as publisher:

        def orders() -> list[float]:
            found, until, number = [], time.monotonic() + SECONDS, 0
            while time.monotonic() < until:
                number += 1
                began = time.monotonic()
                publisher.order("IDANN", number)
                assert receive(ann)["orderbook"]["id"] == number
                found.append(time.monotonic() - began)
                time.sleep(EVERY)
            return found

        print(f"without floods: orders {shown(orders())}", flush=True)
        context = multiprocessing.get_context("spawn")
        end = context.Event()
        crowds = []
        for count, rate in ((connections, SLOW), (1, FAST)):
            ready = context.Event()
            crowds.append(context.Process(target=flood, args=(gateway.port, count, rate, ready, end)))
            crowds[-1].start()
            ready.wait()
        print(f"with floods: orders {shown(orders())}", flush=True)
        end.set()
        for crowd in crowds:
            crowd.join(10)


if __name__ == "__main__":
    main()
