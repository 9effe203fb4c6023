"""How fast a worker that starts reads back recent private events.

    python -m tests.programs.read_back [--events 100000]

Starts a gateway on an empty stream, and another one on a full stream. The difference is the time of reading back.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, scratch

MEMBERS = 1000


def seconds_to_start(folder: Path, broker: RabbitMQ, signer: Signer) -> float:
    environ = {
        "AMQP_URL": broker.url,
        "AMQP_EXCHANGES_DURABLE": "true",
        "WEBSOCKET_RESUME_SECONDS": "600",
        "WEBSOCKET_RESUME_BYTES": str(2**30),
        **signer.environ,
    }
    began = time.monotonic()
    gateway = GatewayProcess(folder, environ)
    try:
        return time.monotonic() - began
    finally:
        gateway.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=100_000)
    events: int = parser.parse_args().events
    signer = Signer("ES256")
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        try:
            empty = seconds_to_start(folder, broker, signer)
            with Publisher(broker.url, durable=True, confirm=False) as publisher:
                for number in range(events):
                    publisher.order(f"ID{number % MEMBERS}", number)
            seconds = [seconds_to_start(folder, broker, signer) for _ in range(3)]
        finally:
            broker.close()
    rates = ", ".join(f"{events / (taken - empty):,.0f}" for taken in seconds)
    print(f"ready after {empty:.2f} s without events; with {events:,}, {', '.join(f'{t:.2f}' for t in seconds)} s")
    print(f"read back at {rates} events/s")


if __name__ == "__main__":
    main()
