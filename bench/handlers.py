"""What do handlers that wait, fail or compute cost everybody else?

    python -m bench.handlers

200 clients of one worker are sent 50 events a second each. Beside them one client calls a handler once a second. Prints
the others' latencies without it and with it, in three rounds, and whether the log named what held the loop. Where the
machine has other work, a single stall of a round makes its p99: the best round tells more then. Five minutes.
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
"""Handler to the seconds it waits or computes."""


class Caller(threading.Thread):
    """Calls a handler once a second, on a new connection each time: it may not be done with the last call."""

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
    """Milliseconds of the others: p50, p99, worst."""
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
            got = traders.received()
            if event != "nobody":
                caller.end()
            held = [line for line in gateway.events() if "event loop blocked" in line["event"]]
            named = [f"{line['place'].rpartition('/')[2]} {line['seconds']:.2f} s" for line in held]
            p50, p99, worst = (microseconds / 1000 for microseconds in (got.p50, got.p99, got.worst))
            print(
                f"{event:8}  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  worst {worst:5.0f} ms"
                f"  {got.frames} frames of {CLIENTS * RATE * SECONDS}  named: {', '.join(named) or 'nothing'}",
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
                for name, of in (("median", statistics.median), ("best", min)):
                    p50, p99, worst = (of(one) for one in zip(*runs, strict=True))
                    print(f"{name:6} of {event:8}  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms  worst {worst:5.0f} ms")
        finally:
            broker.close()


if __name__ == "__main__":
    main()
