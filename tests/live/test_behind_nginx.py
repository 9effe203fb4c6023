"""The real nginx with `deploy/nginx.conf` and TLS in front of two gateways, over TCP and over Unix sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from websockets.sync.client import ClientConnection, connect

from tests.certificate import Certificate
from tests.gateway import WAIT, GatewayProcess, Publisher, Signer, authenticate, receive
from tests.proxies import Nginx
from tests.raw_client import RawClient
from tests.servers import RabbitMQ, Redis, wait_until
from tests.swarm import Swarm, SwarmClient

PER_ADDRESS = 5
CLIENTS = 200


@dataclass
class Front:
    """nginx and what is behind it."""

    nginx: Nginx
    gateways: list[GatewayProcess]

    @contextlib.contextmanager
    def connect(self, path: str = "", source: str = "127.0.0.1", **headers: str) -> Iterator[ClientConnection]:
        sock = socket.create_connection(("127.0.0.1", self.nginx.port), WAIT, (source, 0))
        url = f"wss://localhost:{self.nginx.port}/{path}"
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        with connect(url, sock=sock, ssl=self.nginx.tls, additional_headers=more, open_timeout=WAIT) as client:
            yield client

    def raw(self, source: str = "127.0.0.1") -> RawClient:
        return RawClient(self.nginx.port, self.nginx.tls, source=source)

    def joins(self, swarm: Swarm, token: str, number: int) -> SwarmClient:
        """One more client of a swarm; as many numbers after each other as may be are of one address."""
        host = number // PER_ADDRESS
        source = f"127.2.{host // 250}.{host % 250 + 1}"
        client = SwarmClient(self.nginx.port, token, tls=self.nginx.tls, source=source)
        swarm.join(client)
        return client

    def closed(self) -> list[dict[str, Any]]:
        """The gateways' lines about connections that ended."""
        lines = [line for gateway in self.gateways for line in gateway.events()]
        return [line for line in lines if line["event"] == "connection closed"]

    def connections(self) -> list[float]:
        return [gateway.metric('peatio_ws_connections{protocol="classic"}') for gateway in self.gateways]


@contextlib.contextmanager
def front(kind: str, folder: Path, certificate: Certificate, environ: dict[str, str]) -> Iterator[Front]:
    """Two gateways of this kind, and nginx."""
    with contextlib.ExitStack() as stack:
        gateways = []
        for number in (1, 2):
            own = {"WEBSOCKET_UNIX": str(folder / f"{number}.sock")} if kind == "unix" else {}
            gateways.append(GatewayProcess(folder, {**environ, **own}, wait=False))
            stack.callback(gateways[-1].stop)
        stack.callback(lambda: [os.kill(gateway.pid, signal.SIGTERM) for gateway in gateways])  # both at once
        for gateway in gateways:
            gateway.wait_ready()
        nginx = Nginx(folder / "nginx", gateways, certificate)
        stack.callback(nginx.stop)
        yield Front(nginx, gateways)


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return Certificate(folder / "nginx-certificate")


@pytest.fixture(scope="module")
def environ(broker: RabbitMQ, redis: Redis, signer: Signer) -> dict[str, str]:
    return {
        **signer.environ,
        "AMQP_URL": broker.url,
        "REDIS_URL": redis.url,
        "TRUSTED_PROXIES": "127.0.0.1",
        "WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
        "WEBSOCKET_DRAIN_SECONDS": "0.5",
    }


@pytest.fixture(scope="module", params=["tcp", "unix"])
def behind(
    request: pytest.FixtureRequest, folder: Path, certificate: Certificate, environ: dict[str, str]
) -> Iterator[Front]:
    with front(request.param, folder / f"nginx-{request.param}", certificate, environ) as started:
        yield started


def test_sessions_of_both_protocols(behind: Front, signer: Signer, publisher: Publisher) -> None:
    bearer = f"Bearer {signer.token('IDBOB')}"
    with (
        behind.connect(source="127.1.0.1") as ann,
        behind.connect("api/v2/ranger/private/?stream=order,btcusd.trades", "127.1.0.2", Authorization=bearer) as bob,
    ):
        assert "challenge" in receive(ann)
        authenticate(ann, signer.token("IDANN"))
        assert receive(bob) == {"success": {"message": "subscribed", "streams": ["order", "btcusd.trades"]}}
        publisher.order("IDANN", 7)
        assert receive(ann)["orderbook"]["id"] == 7
        publisher.event("private.IDBOB.order", {"id": 8})
        assert receive(bob) == {"order": {"id": 8}}
        long = {"trades": ["1234567890" * 40_000]}  # much more than nginx holds
        publisher.event("public.btcusd.trades", long)
        assert receive(bob) == {"btcusd.trades": long}
        ann.send(json.dumps({"x": "y" * 16_000}))
        assert receive(ann) == {"error": {"message": "Error while handling message."}}
        assert ann.ping().wait(WAIT)


def test_refusals_pass_through(behind: Front, signer: Signer) -> None:
    refused = {
        426: ("GET /", {"Upgrade": None, "Connection": None}),
        401: ("GET /private", {}),
        403: ("GET /", {"Origin": "https://elsewhere.example"}),
    }
    for status, (line, headers) in refused.items():
        with behind.raw("127.1.1.1") as client:
            answer = client.request(headers, f"{line} HTTP/1.1")
        assert answer.status == status
        assert answer.headers["content-type"].startswith("text/plain"), "the gateway's own answer"
        assert answer.body
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
    with behind.raw("127.1.1.1") as client:
        assert client.request({"Authorization": "Bearer nonsense"}).status == 401
    with behind.raw("127.1.1.1") as client:
        # The page's own host, with its port: nginx has passed `Host` on as it was.
        host = f"ws.exchange.example:{behind.nginx.port}"
        assert client.request({"Host": host, "Origin": f"https://{host}"}).status == 101


def test_the_log_has_the_clients_own_addresses(behind: Front) -> None:
    forged = {"127.1.2.1": "203.0.113.9", "127.1.2.2": "203.0.113.9, 127.0.0.1", "127.1.2.3": "nonsense"}
    for source, header in forged.items():
        with behind.connect("public?stream=a.b&secret=1", source, X_Forwarded_For=header) as client:
            receive(client)

    def logged() -> set[str]:
        return {line["address"] for line in behind.closed()}

    wait_until(lambda: logged() >= set(forged), "all three in the gateways' logs")
    assert not any(address.startswith("203.") for address in logged())
    wait_until(lambda: "/public" in behind.nginx.served(), "in nginx's log")
    assert "secret" not in (behind.nginx.folder / "access.log").read_text()


def test_limits_of_an_address_are_the_clients_own(behind: Front, signer: Signer, redis: Redis) -> None:
    token = signer.token("IDANN")

    def counted(address: str) -> int:
        with redis_client.Redis.from_url(redis.url) as connection:
            return int(connection.zcard(f"peatio_ws:connections:address:{address}"))

    with Swarm() as swarm:
        many = [behind.joins(swarm, token, 0) for _ in range(PER_ADDRESS + 3)]  # one address
        swarm.until(lambda: sum(client.ended for client in many) == 3, "three too many")
        refused = [client for client in many if client.ended]
        assert {client.close[0] if client.close else client.status for client in refused} <= {1013, 429}
        other = behind.joins(swarm, token, PER_ADDRESS)  # another one
        swarm.until(lambda: other.authenticated and counted("127.2.0.2") == 1, "somebody else is let in")
        assert counted("127.2.0.1") == PER_ADDRESS
        assert not other.ended


class Returning:
    """A swarm through nginx whose clients come back as soon as they are told to; any other end is a failure."""

    def __init__(self, behind: Front, swarm: Swarm, tokens: list[str]) -> None:
        self._behind, self._swarm, self._tokens = behind, swarm, tokens
        self.told = 0
        self.current: list[SwarmClient] = []
        for number in range(len(tokens)):
            self.current.append(self._join(number))
            swarm.turn(0)
        swarm.until(self.settled, "all there")

    def _join(self, number: int) -> SwarmClient:
        # Two from an address: one that leaves counts until its worker has told Redis.
        return self._behind.joins(self._swarm, self._tokens[number], number // 2 * PER_ADDRESS)

    def settled(self) -> bool:
        for number, client in enumerate(self.current):
            if client.ended:
                assert client.status == 101, f"refused: {client.status}"
                assert client.close is not None, "it was not told"
                assert client.close[0] == 1012
                self.told += 1
                self.current[number] = self._join(number)
        return all(client.authenticated and not client.ended for client in self.current)

    def until(self, check: Callable[[], bool], what: str) -> None:
        """Until this is true and all clients are there."""
        self._swarm.until(lambda: self.settled() and check(), what)


def test_a_rolling_restart_tells_everybody_and_refuses_nobody(behind: Front, signer: Signer) -> None:
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        wait_until(lambda: behind.connections() == [CLIENTS / 2, CLIENTS / 2], "half of them on each gateway")
        for gateway in behind.gateways:
            before = set(gateway.workers())
            os.kill(gateway.pid, signal.SIGHUP)
            clients.until(lambda: not before & set(gateway.workers()), "the old workers are gone")  # noqa: B023
        assert clients.told >= CLIENTS


def test_a_gateway_that_ends_is_not_chosen_until_it_is_back(behind: Front, signer: Signer) -> None:
    first = behind.gateways[0]
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        assert first.process is not None
        first.process.terminate()
        clients.until(lambda: behind.connections() == [0, CLIENTS], "all on the other one")
        assert clients.told == CLIENTS / 2
        first.process.wait(WAIT)
        first.start()
        extra: list[SwarmClient] = []

        def chosen() -> bool:
            extra.append(behind.joins(swarm, signer.token("IDANN"), 10 * CLIENTS + PER_ADDRESS * len(extra)))
            swarm.until(lambda: extra[-1].authenticated, "let in")
            return behind.connections()[0] > 0

        wait_until(chosen, "the first one is chosen again")
        assert not any(client.ended for client in (*clients.current, *extra))


def test_full_gateways_say_so_through_nginx(
    folder: Path, certificate: Certificate, environ: dict[str, str], signer: Signer
) -> None:
    with (
        front("tcp", folder / "nginx-full", certificate, {**environ, "WEBSOCKET_MAX_CONNECTIONS": "1"}) as behind,
        behind.raw() as one,
        behind.raw() as two,
        behind.raw() as three,
    ):
        for client in (one, two):
            client.upgrade()
            assert "challenge" in client.json()
        answer = three.request()
        assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "5", b"Full.\n")
