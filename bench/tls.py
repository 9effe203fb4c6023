"""Compares `amqps` with `amqp`: how long a worker takes for a burst of private events. `python -m bench.tls`

In turns, on one broker and machine, each with a gateway of one worker and one member's client. "Published" counts from
the first event that is published to the last that the client has; "caught up" from the moment at which a worker that
was stopped goes on, with all events waiting at the broker. CPU is the worker's own, in user and kernel.
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
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.tls", description=__doc__)
    parser.add_argument("--events", type=int, default=15_000, help="in a burst [15000]")
    parser.add_argument("--rounds", type=int, default=3, help="of each, of which the median counts [3]")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout of this gateway, to measure that")
    return parser.parse_args()


class Taken(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def burst(gateway: GatewayProcess, signer: Signer, broker: RabbitMQ, events: int, stopped: bool) -> Taken:
    """Publish, and wait until the client has all of it."""
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
                raise SystemExit(f"{number} of {events} came; the gateway's log:\n{gateway.log()}") from None
        return Taken(time.monotonic() - began, cpu(worker) - used)


def main() -> None:
    options = arguments()
    signer, found = Signer(), {(how, scheme): list[Taken]() for how in ("published", "caught up") for scheme in SCHEMES}
    with scratch() as folder:
        broker = RabbitMQ(folder / "broker")
        try:
            for number in range(options.rounds):
                for scheme in SCHEMES:
                    environ = {
                        **broker.environ(scheme),
                        **signer.environ,
                        "SSL_CERT_FILE": str(broker.authority.cert),  # for a gateway that does not know AMQP_CA_FILE
                        "WEBSOCKET_OUTBOX_BYTES": str(2**28),
                        "PYTHONPATH": str(options.root),
                    }
                    gateway = GatewayProcess(folder, environ, cwd=options.root)
                    try:
                        for how, stopped in (("published", False), ("caught up", True)):
                            taken = burst(gateway, signer, broker, options.events, stopped)
                            found[how, scheme].append(taken)
                            print(
                                f"round {number + 1}: {scheme}, {how}: {taken.wall:.2f} s, CPU {taken.cpu:.2f} s",
                                file=sys.stderr,
                            )
                    finally:
                        gateway.stop()
        finally:
            broker.close()
    for how in ("published", "caught up"):
        for what, place in (("time", 0), ("CPU", 1)):
            plain, tls = (statistics.median(taken[place] for taken in found[how, scheme]) for scheme in SCHEMES)
            ratio = tls / plain
            print(f"{options.events} events {how}, {what}: amqp {plain:.2f} s, amqps {tls:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
