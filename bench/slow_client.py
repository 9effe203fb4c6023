"""One of 1,000 clients stops reading while each of them is sent 200 events a second: what does it cost the others?

    python -m bench.slow_client

Two runs of half a minute in turn, twice: without it and with it. Prints the others' latencies, how the slow one ended,
and the worker's memory before and after.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from bench import native_code
from bench.clients import Clients
from bench.publisher import Publisher
from tests.support.gateway import GatewayProcess, Signer
from tests.support.servers import RabbitMQ
from tests.support.swarm import Swarm

CLIENTS, RATE, SECONDS = 1000, 200, 30
UID = "IDSLOW000001"


def run(folder: Path, broker: RabbitMQ, clients: Path, with_slow: bool) -> str:
    signer = Signer()
    tokens = folder / "slow-tokens"
    tokens.write_text(signer.token(UID) + "\n")
    environ = {"AMQP_URL": broker.url, **signer.environ, "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0"}
    gateway = GatewayProcess(folder, environ)
    publisher = Publisher(broker.url)
    try:
        with Clients(clients, tokens, CLIENTS) as traders, Swarm() as swarm:
            traders.open(gateway.port, "/", CLIENTS, 0)
            if with_slow:
                swarm.add(gateway.port, [signer.token(UID)])  # and reads no more
            publisher.publish([f"private.{UID}.order"], 200, RATE)
            time.sleep(1)
            memory = _memory(gateway)
            traders.expect(CLIENTS * RATE * SECONDS, SECONDS + 30)
            publisher.publish([f"private.{UID}.order"], RATE * SECONDS, RATE)
            got = traders.received()
            whole = got.frames == CLIENTS * RATE * SECONDS
            closed = gateway.metric('peatio_ws_closes_total{code="4413"}')
            who = "with a slow client" if with_slow else "without"
            return (
                f"{who:18}  p50 {got.p50 / 1000:6.1f} ms  p99 {got.p99 / 1000:6.1f} ms"
                f"  {'all' if whole else got.frames} frames  closed with 4413: {closed:g}"
                f"  memory {memory / 1024:.1f} -> {_memory(gateway) / 1024:.1f} MB"
            )
    finally:
        publisher.close()
        gateway.stop()


def _memory(gateway: GatewayProcess) -> int:
    """Kilobytes of the worker."""
    (worker,) = gateway.workers()
    return int(Path(f"/proc/{worker}/smaps_rollup").read_text().split("Pss:")[1].split()[0])


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clients = native_code.build("clients", folder)
        broker = RabbitMQ(folder / "broker")
        try:
            for _ in range(2):
                for with_slow in (False, True):
                    print(run(folder, broker, clients, with_slow), flush=True)
        finally:
            broker.close()


if __name__ == "__main__":
    main()
