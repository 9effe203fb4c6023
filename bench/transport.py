"""Compare the transport over `ws` and `wss`: a client that stops reading, pings, a drain, and a soak.

    python -m bench.transport [--seconds 10] [--soak 30]

Prints a table. Each figure is measured without TLS and then over TLS, with one worker. The backlog has 20 clients, the
other figures have 1,000.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import native_code
from bench.clients import Clients
from bench.publisher import Publisher
from tests.programs.soak import soak
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Signer
from tests.support.servers import RabbitMQ, scratch, wait_until
from tests.support.swarm import Swarm

CLIENTS, RATE = 1000, 200
UID = "IDSLOW000001"
BACKLOG = 12_000
"""Events."""
PING_PAUSE = 0.02
"""Seconds."""
WINDOW = 4096
"""Receive buffer of the slow client, in bytes."""

Rows = dict[str, str]
"""Values of the table by name."""


class Setup(NamedTuple):
    """The programs and servers that the measurements share.

    Attributes:
        clients: the compiled clients.c.
        certificate: of the gateway; None without TLS.
    """

    folder: Path
    broker: RabbitMQ
    clients: Path
    certificate: Certificate | None
    signer: Signer

    @property
    def trusted(self) -> ssl.SSLContext | None:
        """The context of clients that trust the certificate; None without TLS."""
        return self.certificate.trusted() if self.certificate else None

    @contextmanager
    def gateway(self) -> Iterator[GatewayProcess]:
        """Run a gateway."""
        environ = {"AMQP_URL": self.broker.url, **self.signer.environ, "WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER": "0"}
        environ["WEBSOCKET_SEND_TIMEOUT"] = "3"
        gateway = GatewayProcess(self.folder, environ | (self.certificate.environ if self.certificate else {}))
        try:
            yield gateway
        finally:
            gateway.stop()


def with_and_without_slow_client(setup: Setup, seconds: int) -> Rows:
    """Measure the latency of 1,000 clients that receive 200 events per second each, and of another client's pings.

    First without and then with a client that stops reading.
    """
    rows: Rows = {}
    for with_slow in (False, True):
        rows |= _fan_out(setup, seconds, with_slow)
    return rows


def _fan_out(setup: Setup, seconds: int, with_slow: bool) -> Rows:
    tokens = setup.folder / "transport-tokens"
    tokens.write_text(setup.signer.token(UID) + "\n")
    publisher, key = Publisher(setup.broker.url), [f"private.{UID}.order"]
    case = "with a client that stops reading" if with_slow else "all clients read"
    try:
        with (
            setup.gateway() as gateway,
            Clients(setup.clients, tokens, CLIENTS, setup.certificate is not None) as traders,
            Swarm() as swarm,
        ):
            traders.open(gateway.port, "/", CLIENTS, 0)
            if with_slow:  # it does not read after it has authenticated
                swarm.add(gateway.port, [setup.signer.token(UID)], window=WINDOW, tls=setup.trusted)
            traders.expect(CLIENTS * RATE, 30)
            publisher.publish(key, RATE, RATE)
            traders.received()
            memory = _memory(gateway)
            traders.expect(CLIENTS * RATE * seconds, seconds + 30)
            with _pings(setup, gateway) as times:
                publisher.publish(key, RATE * seconds, RATE)
                got = traders.received()
            if got.frames != CLIENTS * RATE * seconds:
                raise RuntimeError(f"{case}: {got.frames} of {CLIENTS * RATE * seconds} frames arrived")
            closed = 'peatio_ws_closes_total{code="4413"}'
            wait_until(lambda: gateway.metric(closed) == with_slow, f"{case}: only the slow client is closed")
            return {
                f"{case}: p50 of an event, ms": f"{got.p50 / 1000:.1f}",
                f"{case}: p99 of an event, ms": f"{got.p99 / 1000:.1f}",
                f"{case}: p50 of a ping, ms": f"{statistics.median(times):.1f}",
                f"{case}: p99 of a ping, ms": f"{statistics.quantiles(times, n=100)[98]:.1f}",
                f"{case}: memory of the worker, before and after, MB": f"{memory:.1f}, {_memory(gateway):.1f}",
            }
    finally:
        publisher.close()


@contextmanager
def _pings(setup: Setup, gateway: GatewayProcess) -> Iterator[list[float]]:
    """Send pings repeatedly on another connection. The list receives the time until each pong, in milliseconds."""
    times: list[float] = []
    over = threading.Event()
    with gateway.connect("public?stream=a.trades", **_options(setup)) as client:

        def ping() -> None:
            while not over.is_set():
                began = time.monotonic()
                client.ping().wait()
                times.append((time.monotonic() - began) * 1000)
                over.wait(PING_PAUSE)

        thread = threading.Thread(target=ping)
        thread.start()
        try:
            yield times
        finally:
            over.set()
            thread.join()


def _options(setup: Setup) -> dict[str, object]:
    return {"ssl": setup.trusted, "server_hostname": "localhost"} if setup.certificate else {}


def _memory(gateway: GatewayProcess) -> float:
    """Return the worker's memory (PSS) in megabytes."""
    (worker,) = gateway.workers()
    return int(Path(f"/proc/{worker}/smaps_rollup").read_text().split("Pss:")[1].split()[0]) / 1024


def ping_behind_backlog(setup: Setup) -> Rows:
    """Measure a worker that is stopped while 12,000 events and a ping arrive, and then continues."""
    publisher = Publisher(setup.broker.url)
    try:
        with setup.gateway() as gateway, Swarm() as swarm:
            swarm.add(gateway.port, [setup.signer.token(UID)] * 20, tls=setup.trusted)
            (worker,) = gateway.workers()
            with gateway.connect("public?stream=a.trades", **_options(setup)) as client:
                os.kill(worker, signal.SIGSTOP)
                publisher.publish([f"private.{UID}.order"], BACKLOG, 0)
                pong = client.ping()
                began = time.monotonic()
                os.kill(worker, signal.SIGCONT)
                pong.wait()
                ping = time.monotonic() - began
                swarm.until(
                    lambda: all(len(client.texts) == BACKLOG + 2 for client in swarm.clients),
                    "all clients received the backlog",
                )
            took = time.monotonic() - began
    finally:
        publisher.close()
    return {
        "ping while 12,000 events for 20 clients wait, ms": f"{ping * 1000:.0f}",
        "these events all delivered, ms": f"{took * 1000:.0f}",
    }


def drain(setup: Setup) -> Rows:
    """Send SIGTERM to a gateway with 1,000 members, and measure how it drains."""
    with setup.gateway() as gateway, Swarm() as swarm:
        tokens = [setup.signer.token(f"ID{number}") for number in range(CLIENTS)]
        swarm.add(gateway.port, tokens, tls=setup.trusted)
        process = gateway.process
        assert process is not None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        swarm.until(lambda: all(client.ended for client in swarm.clients), "all clients are disconnected")
        ended = time.monotonic() - began
        process.wait(30)
        exited = time.monotonic() - began
        notified = sum(client.close is not None and client.close[0] == 1012 for client in swarm.clients)
    return {
        "drain: clients that received 1012": f"{notified:,} of {CLIENTS:,}",
        "drain: until the last client is disconnected, s": f"{ended:.2f}",
        "drain: until all processes have exited, s": f"{exited:.2f}",
    }


def connection_turnover(setup: Setup, seconds: int) -> Rows:
    """Run the soak of `make soak`: each second, 2 % of the clients disconnect and are replaced."""
    before, after, got = soak(setup.folder, setup.broker, seconds, CLIENTS, RATE * 4, tls=setup.certificate is not None)
    names = {"greenlets": "greenlets", "descriptors": "descriptors", "kilobytes": "memory of the worker, KB"}
    return {"soak: events delivered": f"{got:,}"} | {
        f"soak: {name}, before and after": f"{before[key]:,}, {after[key]:,}" for key, name in names.items()
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="seconds of events, without and with a slow client")
    parser.add_argument("--soak", type=int, default=30, help="seconds of the soak")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    measurements: list[Callable[[Setup], Rows]] = [
        lambda setup: with_and_without_slow_client(setup, options.seconds),
        ping_behind_backlog,
        drain,
        lambda setup: connection_turnover(setup, options.soak),
    ]
    with scratch() as folder:
        clients = native_code.build("clients", folder)
        broker = RabbitMQ(folder / "broker")
        plain = Setup(folder, broker, clients, None, Signer())
        try:
            print("| | `ws` | `wss` |\n| --- | ---: | ---: |")
            for measure in measurements:
                rows = [measure(setup) for setup in (plain, plain._replace(certificate=Certificate(folder / "tls")))]
                for name, value in rows[0].items():
                    print(f"| {name} | {value} | {rows[1][name]} |", flush=True)
        finally:
            broker.close()


if __name__ == "__main__":
    main()
