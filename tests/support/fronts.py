"""A proxy with TLS in front of two gateways, and clients that go through it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess
from tests.support.proxies import Proxy
from tests.support.raw_client import RawClient
from tests.support.swarm import Swarm, SwarmClient

PER_ADDRESS = 5
"""Maximum number of connections of an address, set by `ENVIRON`."""
ENVIRON = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
    "WEBSOCKET_DRAIN_SECONDS": "0.5",
}


@dataclass
class Front:
    """A proxy and the gateways behind it."""

    proxy: Proxy
    gateways: list[GatewayProcess]

    def connect(self, path: str = "", source: str = "127.0.0.1", **headers: str) -> RawClient:
        """Return a client that has been upgraded.

        Clients of `websockets.sync` do not work here: they read and write one TLS connection from two threads at once,
        which OpenSSL does not support.
        """
        client = self.raw(source)
        answer = client.request(
            {name.replace("_", "-"): value for name, value in headers.items()}, f"GET /{path} HTTP/1.1"
        )
        assert answer.status == 101, answer
        return client

    def raw(self, source: str = "127.0.0.1") -> RawClient:
        return RawClient(self.proxy.port, self.proxy.tls, source=source)

    def joins(self, swarm: Swarm, token: str, number: int) -> SwarmClient:
        """Connect one more client of a swarm. Consecutive numbers share an address, up to its limit."""
        host = number // PER_ADDRESS
        source = f"127.2.{host // 250}.{host % 250 + 1}"
        client = SwarmClient(self.proxy.port, token, tls=self.proxy.tls, source=source)
        swarm.join(client)
        return client

    def closed(self) -> list[dict[str, Any]]:
        """Return the log lines of both gateways about closed connections."""
        lines = [line for gateway in self.gateways for line in gateway.events()]
        return [line for line in lines if line["event"] == "connection closed"]

    def connections(self) -> list[float]:
        return [gateway.total("peatio_ws_connections") for gateway in self.gateways]


@contextlib.contextmanager
def front(
    proxy: type[Proxy], folder: Path, certificate: Certificate, environ: dict[str, str], unix: bool = False
) -> Iterator[Front]:
    """Start two gateways, over TCP or Unix sockets, and a proxy of this kind."""
    with contextlib.ExitStack() as stack:
        gateways = []
        for number in (1, 2):
            own = {"WEBSOCKET_UNIX": str(folder / f"{number}.sock")} if unix else {}
            gateways.append(GatewayProcess(folder, {**environ, **own}, wait=False))
            stack.callback(gateways[-1].stop)
        stack.callback(lambda: [os.kill(gateway.pid, signal.SIGTERM) for gateway in gateways])  # both start at once
        for gateway in gateways:
            gateway.wait_ready()
        before = proxy(folder / "proxy", gateways, certificate)
        stack.callback(before.stop)
        yield Front(before, gateways)


class Returning:
    """A swarm whose clients reconnect when the gateway announces a restart. Any other end is a failure."""

    def __init__(self, behind: Front, swarm: Swarm, tokens: list[str]) -> None:
        self._behind, self._swarm, self._tokens = behind, swarm, tokens
        self.notified = 0
        self.current: list[SwarmClient] = []
        for number in range(len(tokens)):
            self.current.append(self._join(number))
            swarm.turn(0)
        swarm.until(self.settled, "all there")

    def _join(self, number: int) -> SwarmClient:
        # One client per address: a closed connection counts until its worker has released its slot in Redis, and a
        # client may reconnect several times before that.
        return self._behind.joins(self._swarm, self._tokens[number], number * PER_ADDRESS)

    def settled(self) -> bool:
        for number, client in enumerate(self.current):
            if client.ended:
                assert client.status == 101, f"refused: {client.status}\n{self._behind.proxy.accesses()[-3_000:]}"
                assert client.close is not None, "it received no close frame"
                assert client.close[0] == 1012, f"closed with {client.close}"
                self.notified += 1
                self.current[number] = self._join(number)
        return all(client.authenticated and not client.ended for client in self.current)

    def until(self, check: Callable[[], bool], what: str) -> None:
        """Read until the condition holds and all clients are connected."""
        self._swarm.until(lambda: self.settled() and check(), what)
