"""Compares `amqps` with `amqp`: how long a worker takes for a burst of private events. `python -m bench.tls`

The schemes take turns on one broker, each with a gateway of one worker and one client. "Published" is the time from the
first published event until the client has received the last one. "Caught up" begins when a stopped worker continues,
while all events wait at the broker. CPU is the CPU time of the worker, user and system.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from peatio_ws.protocol.exchanges import RANGER
from peatio_ws.publisher import Publisher
from tests.support.gateway import ROOT, GatewayProcess, Signer, authenticate, receive
from tests.support.servers import RabbitMQ, scratch

SCHEMES: Final = ("amqp", "amqps")
LIMIT_SECONDS: Final = 60.0


def arguments() -> argparse.Namespace:
    """Return the command-line options."""
    parser = argparse.ArgumentParser(prog="python -m bench.tls", description=__doc__)
    parser.add_argument("--events", type=int, default=15_000, help="events per burst [15000]")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each kind; the median is printed [3]")
    parser.add_argument("--root", type=Path, default=ROOT, help="measure another checkout of this gateway")
    return parser.parse_args()


class Seconds(NamedTuple):
    """The duration of a burst, and the CPU time of the worker."""

    wall: float
    cpu: float


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def burst(gateway: GatewayProcess, signer: Signer, broker: RabbitMQ, events: int, stopped: bool) -> Seconds:
    """Publish events, and wait until the client has received all of them.

    Args:
        stopped: whether the worker is stopped while the events are published.
    """
    body = {"id": 1, "side": "sell", "price": "9120.5", "state": "wait", "market_id": "btcusd", "volume": "1.5"}
    with gateway.connect(compression=None, max_queue=None) as client, Publisher(broker.url) as publisher:
        receive(client)
        authenticate(client, signer.token("IDANN"))
        (worker,) = gateway.workers()
        if stopped:
            os.kill(worker, signal.SIGSTOP)
        began, used = time.monotonic(), cpu(worker)
        for number in range(events):
            publisher.publish(RANGER, "private.IDANN.order", {}, json.dumps({**body, "id": number}).encode())
        if stopped:
            publisher.confirm()
            began = time.monotonic()
            os.kill(worker, signal.SIGCONT)
        for number in range(events):
            try:
                client.recv(timeout=LIMIT_SECONDS)
            except TimeoutError:
                raise SystemExit(f"{number} of {events} events arrived; log of the gateway:\n{gateway.log()}") from None
        return Seconds(time.monotonic() - began, cpu(worker) - used)


def main() -> None:
    """Run the command."""
    options = arguments()
    signer = Signer()
    bursts = {(how, scheme): list[Seconds]() for how in ("published", "caught up") for scheme in SCHEMES}
    with scratch() as folder:
        broker = RabbitMQ(folder / "broker")
        try:
            for number in range(options.rounds):
                for scheme in SCHEMES:
                    environ = {
                        **broker.environ(scheme),
                        **signer.environ,
                        "SSL_CERT_FILE": str(broker.authority.cert),  # for checkouts that do not have AMQP_CA_FILE
                        "WEBSOCKET_OUTBOX_BYTES": str(2**28),
                        "PYTHONPATH": str(options.root),
                    }
                    gateway = GatewayProcess(folder, environ, cwd=options.root)
                    try:
                        for how, stopped in (("published", False), ("caught up", True)):
                            seconds = burst(gateway, signer, broker, options.events, stopped)
                            bursts[how, scheme].append(seconds)
                            print(
                                f"round {number + 1}: {scheme}, {how}: {seconds.wall:.2f} s, CPU {seconds.cpu:.2f} s",
                                file=sys.stderr,
                            )
                    finally:
                        gateway.stop()
        finally:
            broker.close()
    for how in ("published", "caught up"):
        for what, place in (("time", 0), ("CPU", 1)):
            plain, tls = (statistics.median(seconds[place] for seconds in bursts[how, scheme]) for scheme in SCHEMES)
            ratio = tls / plain
            print(f"{options.events} events {how}, {what}: amqp {plain:.2f} s, amqps {tls:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
