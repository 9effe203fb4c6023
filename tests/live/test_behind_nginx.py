"""The real nginx with `deploy/nginx.conf` and TLS in front of two gateways, over TCP and over Unix sockets."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client

from tests.support.certificate import Certificate
from tests.support.fronts import ENVIRON, PER_ADDRESS, Front, Returning, front
from tests.support.gateway import WAIT, Publisher, Signer
from tests.support.proxies import Nginx
from tests.support.raw_client import PING, PONG, Frame, frame, text
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.serving import AUTHENTICATED, NOT_UNDERSTOOD
from tests.support.swarm import Swarm, SwarmClient

CLIENTS = 200


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Certificate:
    return Certificate(folder / "nginx-certificate")


@pytest.fixture(scope="module")
def environ(broker: RabbitMQ, redis: Redis, signer: Signer) -> dict[str, str]:
    return {**signer.environ, **ENVIRON, "AMQP_URL": broker.url, "REDIS_URL": redis.url}


@pytest.fixture(scope="module", params=["tcp", "unix"])
def behind(
    request: pytest.FixtureRequest, folder: Path, certificate: Certificate, environ: dict[str, str]
) -> Iterator[Front]:
    unix = request.param == "unix"
    with front(Nginx, folder / f"nginx-{request.param}", certificate, environ, unix) as started:
        yield started


def test_sessions_of_both_protocols(behind: Front, signer: Signer, publisher: Publisher) -> None:
    bearer = f"Bearer {signer.token('IDBOB')}"
    with (
        behind.connect(source="127.1.0.1") as ann,
        behind.connect("api/v2/ranger/private/?stream=order,btcusd.trades", "127.1.0.2", Authorization=bearer) as bob,
    ):
        assert "challenge" in ann.json()
        ann.send(text({"jwt": f"Bearer {signer.token('IDANN')}"}))
        assert ann.json() == AUTHENTICATED
        assert bob.json() == {"success": {"message": "subscribed", "streams": ["order", "btcusd.trades"]}}
        publisher.order("IDANN", 7)
        assert ann.json()["orderbook"]["id"] == 7
        publisher.event("private.IDBOB.order", {"id": 8})
        assert bob.json() == {"order": {"id": 8}}
        long = {"trades": ["1234567890" * 40_000]}  # much more than nginx buffers
        publisher.event("public.btcusd.trades", long)
        assert bob.json() == {"btcusd.trades": long}
        ann.send(text({"x": "y" * 16_000}))
        assert ann.json() == NOT_UNDERSTOOD
        ann.send(frame(PING, b"there?"))
        assert ann.next() == Frame(PONG, b"there?")


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
        assert answer.headers["content-type"].startswith("text/plain"), "the answer is not the gateway's"
        assert answer.body
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
    with behind.raw("127.1.1.1") as client:
        assert client.request({"Authorization": "Bearer nonsense"}).status == 401
    with behind.raw("127.1.1.1") as client:
        # Same origin, host and port: nginx passes `Host` on unchanged.
        host = f"ws.exchange.example:{behind.proxy.port}"
        assert client.request({"Host": host, "Origin": f"https://{host}"}).status == 101


def test_log_contains_the_clients_own_addresses(behind: Front) -> None:
    forged = {"127.1.2.1": "203.0.113.9", "127.1.2.2": "203.0.113.9, 127.0.0.1", "127.1.2.3": "nonsense"}
    for source, header in forged.items():
        with behind.connect("public?stream=a.b&secret=1", source, X_Forwarded_For=header) as client:
            client.json()

    def logged() -> set[str]:
        return {line["address"] for line in behind.closed()}

    wait_until(lambda: logged() >= set(forged), "all three in the gateways' logs")
    assert not any(address.startswith("203.") for address in logged())
    wait_until(lambda: "/public" in behind.proxy.accesses(), "in nginx's log")
    assert "secret" not in behind.proxy.accesses()


def test_address_limits_apply_to_each_clients_own_address(behind: Front, signer: Signer, redis: Redis) -> None:
    token = signer.token("IDANN")

    def counted(address: str) -> int:
        with redis_client.Redis.from_url(redis.url) as connection:
            return int(connection.zcard(f"peatio_ws:connections:address:{address}"))

    with Swarm() as swarm:
        many = [behind.joins(swarm, token, 0) for _ in range(PER_ADDRESS + 3)]  # all from one address
        swarm.until(lambda: sum(client.ended for client in many) == 3, "three clients are refused")
        refused = [client for client in many if client.ended]
        assert {client.close[0] if client.close else client.status for client in refused} <= {1013, 429}
        other = behind.joins(swarm, token, PER_ADDRESS)  # from another address
        swarm.until(lambda: other.authenticated and counted("127.2.0.2") == 1, "another client is accepted")
        assert counted("127.2.0.1") == PER_ADDRESS
        assert not other.ended


def test_rolling_restart_notifies_all_and_refuses_no_client(behind: Front, signer: Signer) -> None:
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        wait_until(lambda: behind.connections() == [CLIENTS / 2, CLIENTS / 2], "half of them on each gateway")
        for gateway in behind.gateways:
            before = set(gateway.workers())
            os.kill(gateway.pid, signal.SIGHUP)
            clients.until(lambda: not before & set(gateway.workers()), "the old workers are gone")  # noqa: B023
        assert clients.notified >= CLIENTS


def test_restart_of_one_gateway_after_the_other_refuses_no_client(behind: Front, signer: Signer) -> None:
    """nginx may not stay away from the first one, whose connections do not end, when the second one is down."""
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        for gateway, other in itertools.permutations(behind.gateways):
            assert gateway.process is not None
            gateway.process.terminate()
            clients.until(
                lambda: other.total("peatio_ws_connections") == CLIENTS,  # noqa: B023
                "all clients are on the other gateway",
            )
            gateway.process.wait(WAIT)
            gateway.start()


def test_nginx_does_not_use_a_gateway_that_is_down(behind: Front, signer: Signer) -> None:
    first = behind.gateways[0]
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        assert first.process is not None
        first.process.terminate()
        clients.until(lambda: behind.connections() == [0, CLIENTS], "all clients are on the other gateway")
        assert clients.notified == CLIENTS / 2
        first.process.wait(WAIT)
        first.start()
        extra: list[SwarmClient] = []

        def is_used() -> bool:
            extra.append(behind.joins(swarm, signer.token("IDANN"), 10 * CLIENTS + PER_ADDRESS * len(extra)))
            swarm.until(lambda: extra[-1].authenticated, "the client is authenticated")
            return behind.connections()[0] > 0

        wait_until(is_used, "nginx uses the first gateway again")
        assert not any(client.ended for client in (*clients.current, *extra))


def test_full_gateways_answer_through_nginx(
    folder: Path, certificate: Certificate, environ: dict[str, str], signer: Signer
) -> None:
    with (
        front(Nginx, folder / "nginx-full", certificate, {**environ, "WEBSOCKET_MAX_CONNECTIONS": "1"}) as behind,
        behind.raw() as one,
        behind.raw() as two,
        behind.raw() as three,
    ):
        for client in (one, two):
            client.upgrade()
            assert "challenge" in client.json()
        answer = three.request()
        assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "5", b"Full.\n")
