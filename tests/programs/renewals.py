"""Start gateways on new history streams and delete the streams, with a publisher that must not notice.

    python -m tests.programs.renewals [--rounds 20] [--workers 4] [--rate 3000]

Each round is a first start (`AMQP_HISTORY_QUEUE` has a new name) and a renewal: the stream is unbound and deleted, and
the workers create it again. The publisher uses no confirms and gives up at the first error (`steady_publisher`).
The status is 1 if it did. The short form is `creating_a_stream_harms_no_publisher` in
`source_scenarios.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from kombu import Connection

from peatio_ws.amqp.topology import PRIVATE
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.servers import RabbitMQ, scratch, wait_until

WAIT = 120.0


class Harmed(Exception):
    """The publisher received an error."""


def delete(url: str, stream: str) -> None:
    """Unbind the stream, then delete it: RabbitMQ (3.10.8) closes the channel of a publisher whose message it routes to
    a stream that is just being deleted."""
    with Connection(url) as connection, connection.channel() as channel:
        for exchange, key in PRIVATE:
            channel.queue_unbind(stream, exchange, key)
        channel.queue_delete(stream)


def run_round(folder: Path, url: str, workers: int, check: Callable[[], None]) -> tuple[float, float]:
    """Run one first start and one renewal. Return how many seconds each took.

    Args:
        check: raises Harmed.
    """
    stream = f"history-{uuid.uuid4().hex}"
    environ = {
        "AMQP_URL": url,
        "AMQP_HISTORY_QUEUE": stream,
        "WEB_CONCURRENCY": str(workers),
        **Signer("ES256").environ,
    }
    began = time.monotonic()
    gateway = GatewayProcess(folder, environ | Signer("ES256").environ, wait=False)

    def opened() -> int:
        lines = gateway.events()
        assert not [line for line in lines if "cannot read the history stream" in line["event"]], gateway.log()
        return sum(line["event"] == "receiving from the broker" and line["events"] == "private" for line in lines)

    def reads(times: int) -> bool:
        check()
        # Every worker has opened the stream this often, and has read all of it.
        return opened() >= times * workers and gateway.metric("peatio_ws_broker_connected") == workers

    try:
        wait_until(lambda: reads(1), "all workers read the stream", WAIT, 0.2)
        started = time.monotonic()
        delete(url, stream)
        wait_until(lambda: reads(2), "all workers read the new stream", WAIT, 0.2)
        renewed = time.monotonic()
    finally:
        gateway.stop()
        delete(url, stream)
    check()
    return started - began, renewed - started


def run(folder: Path, broker: RabbitMQ, rounds: int, workers: int, rate: int) -> int:
    """Run all rounds. Return how many messages the publisher sent meanwhile. Raises Harmed."""
    command = [sys.executable, "-m", "tests.support.steady_publisher", broker.url, str(rate)]
    publisher = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def check() -> None:
        if publisher.poll() is not None:
            raise Harmed(publisher.communicate()[0].strip())

    try:
        for number in range(1, rounds + 1):
            started, renewed = run_round(folder, broker.url, workers, check)
            print(f"{number:3}  first start {started:5.1f} s  renewal {renewed:5.1f} s", flush=True)
        printed, _ = publisher.communicate("", timeout=WAIT)
        if publisher.returncode:
            raise Harmed(printed.strip())
        return int(printed)
    finally:
        publisher.kill()
        publisher.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=int, default=3000, help="messages a second")
    options = parser.parse_args()
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        began = time.monotonic()
        try:
            sent = run(folder, broker, options.rounds, options.workers, options.rate)
        except Harmed as error:
            print(f"the publisher was harmed: {error}")
            return 1
        finally:
            broker.close()
        seconds = time.monotonic() - began
    print(f"the publisher sent {sent:,} messages in {seconds:.0f} s ({sent / seconds:,.0f}/s) and got no error")
    return 0


if __name__ == "__main__":
    sys.exit(main())
