"""Measure how handlers that wait, fail or compute delay other clients.

    python -m bench.handlers

One worker sends 50 events per second to each of 200 clients. Meanwhile, another client calls a handler once a second.
Prints the latencies of the 200 clients without and with these calls, in three rounds, and the lines of code that the
log named as blocking the event loop. Takes five minutes. If other programs use the machine, a single stall can
determine the p99 of a round; compare the best rounds then.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench import native_code
from bench.clients import Clients
from bench.publisher import Publisher
from tests.support.gateway import GatewayProcess, Signer
from tests.support.servers import RabbitMQ

CLIENTS, RATE, SECONDS, ROUNDS = 200, 50, 8, 3
UID = "IDBENCH00001"
CALLS = {"nobody": 0.0, "sleep": 10.0, "raise": 0.0, "library": 0.2, "thread": 0.2, "loop": 0.2}
"""Handlers, with the seconds that each waits or computes. For `nobody`, no handler is called."""


class Caller(threading.Thread):
    """Calls a handler once a second, on a new connection each time: the previous call may not have returned yet."""

    def __init__(self, gateway: GatewayProcess, event: str) -> None:
        super().__init__()
        self._gateway, self._event, self._ended = gateway, event, threading.Event()

    def run(self) -> None:
        message = json.dumps({"event": self._event, "seconds": CALLS[self._event]})
        connections = []
        while not self._ended.wait(1):
            connection = self._gateway.connect()
            connection.__enter__().send(message)
            connections.append(connection)
        for connection in connections:
            connection.__exit__(None, None, None)

    def end(self) -> None:
        self._ended.set()
        self.join()


def run(folder: Path, broker: RabbitMQ, clients: Path, event: str) -> tuple[float, float, float]:
    """Measure with one handler. Print and return p50, p99 and worst latency of the clients, in milliseconds."""
    signer = Signer()
    tokens = folder / "handlers-tokens"
    tokens.write_text(signer.token(UID) + "\n")
    environ = {"AMQP_URL": broker.url, **signer.environ, "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0"}
    gateway = GatewayProcess(folder, environ, command=("gunicorn", "bench.servers.handlers"))
    publisher = Publisher(broker.url)
    caller = Caller(gateway, event)
    try:
        with Clients(clients, tokens, CLIENTS) as traders:
            traders.open(gateway.port, "/", CLIENTS, 0)
            publisher.publish([f"private.{UID}.order"], 50, RATE)
            time.sleep(1)
            if event != "nobody":
                caller.start()
            traders.expect(CLIENTS * RATE * SECONDS, SECONDS + 30)
            publisher.publish([f"private.{UID}.order"], RATE * SECONDS, RATE)
            received = traders.received()
            if event != "nobody":
                caller.end()
            blocks = [line for line in gateway.events() if "event loop blocked" in line["event"]]
            blocking = [f"{line['place'].rpartition('/')[2]} {line['seconds']:.2f} s" for line in blocks]
            p50, p99, worst = (microseconds / 1000 for microseconds in (received.p50, received.p99, received.worst))
            print(
                f"{event:8}  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  worst {worst:5.0f} ms"
                f"  {received.frames} of {CLIENTS * RATE * SECONDS} frames  blocking: {', '.join(blocking) or 'none'}",
                flush=True,
            )
            return p50, p99, worst
    finally:
        publisher.close()
        gateway.stop()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    events = sys.argv[1:] or list(CALLS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clients = native_code.build("clients", folder)
        broker = RabbitMQ(folder / "broker")
        try:
            found: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(ROUNDS):
                for event in events:
                    found.setdefault(event, []).append(run(folder, broker, clients, event))
            for event, runs in found.items():
                for name, statistic in (("median", statistics.median), ("best", min)):
                    p50, p99, worst = (statistic(one) for one in zip(*runs, strict=True))
                    print(f"{name:6} of {event:8}  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  worst {worst:5.0f} ms")
        finally:
            broker.close()


if __name__ == "__main__":
    main()
