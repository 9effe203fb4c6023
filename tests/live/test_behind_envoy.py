"""The real Envoy with `deploy/envoy.yaml` and TLS in front of two gateways."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificate import Certificate
from tests.support.fronts import ENVIRON, PER_ADDRESS, Front, Returning, front
from tests.support.gateway import Publisher, Signer
from tests.support.proxies import Envoy
from tests.support.raw_client import PING, PONG, Frame, frame, text
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.serving import AUTHENTICATED
from tests.support.swarm import Swarm, SwarmClient

CLIENTS = 100
FULL = 150
"""Maximum number of connections of a gateway: the number that both tests need together."""


@pytest.fixture(scope="module")
def behind(folder: Path, broker: RabbitMQ, redis: Redis, signer: Signer) -> Iterator[Front]:
    own = {"AMQP_URL": broker.url, "REDIS_URL": redis.url, "WEBSOCKET_MAX_CONNECTIONS": str(FULL)}
    environ = {**signer.environ, **ENVIRON, **own}
    with front(Envoy, folder / "envoy", Certificate(folder / "envoy-certificate"), environ) as started:
        yield started


def test_sessions_refusals_and_addresses(behind: Front, signer: Signer, publisher: Publisher) -> None:
    bearer = f"Bearer {signer.token('IDBOB')}"
    path = "api/v2/ranger/public/?stream=order&secret=1"
    with (
        behind.connect(source="127.1.0.1", X_Forwarded_For="203.0.113.9") as ann,
        behind.connect(path, "127.1.0.2", Authorization=bearer) as bob,
    ):
        assert "challenge" in ann.json()
        ann.send(text({"jwt": f"Bearer {signer.token('IDANN')}"}))
        assert ann.json() == AUTHENTICATED
        assert bob.json() == {"success": {"message": "subscribed", "streams": ["order"]}}
        publisher.order("IDANN", 7, price="1" * 400_000)
        assert ann.json()["orderbook"]["id"] == 7
        publisher.event("private.IDBOB.order", {"id": 8})
        assert bob.json() == {"order": {"id": 8}}
        ann.send(frame(PING, b"there?"))
        assert ann.next() == Frame(PONG, b"there?")
    for status, line in ((426, "GET / HTTP/1.1"), (401, "GET /private HTTP/1.1")):
        with behind.raw() as client:
            answer = client.request({"Upgrade": None, "Connection": None} if status == 426 else {}, line)
        assert (answer.status, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    wait_until(lambda: len(behind.closed()) >= 2, "both in the gateways' logs")
    assert {line["address"] for line in behind.closed()} == {"127.1.0.1", "127.1.0.2"}
    wait_until(lambda: "/api/v2/ranger/public/" in behind.proxy.accesses(), "in Envoy's log")
    assert "secret" not in behind.proxy.accesses()


def uses_both(behind: Front) -> bool:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(behind.connect())
        return all(behind.connections())


def test_new_clients_use_the_other_gateway_while_one_is_full(behind: Front, signer: Signer) -> None:
    tokens = [signer.token(f"ID{number}") for number in range(FULL)]
    with Swarm() as swarm:
        for number, token in enumerate(tokens):  # directly, without Envoy
            swarm.join(SwarmClient(behind.gateways[0].port, token, source=f"127.3.0.{number + 1}"))
        swarm.until(lambda: all(client.authenticated for client in swarm.clients), "one gateway is full")
        late = [behind.joins(swarm, token, number * PER_ADDRESS) for number, token in enumerate(tokens[:CLIENTS])]
        swarm.until(
            lambda: all(client.authenticated or client.ended for client in late), "all other clients are answered"
        )
        assert [client.status for client in late] == [101] * CLIENTS
    wait_until(lambda: uses_both(behind), "Envoy uses both gateways again")


def test_clients_of_a_gateway_that_stops_move_to_the_other(behind: Front, signer: Signer) -> None:
    with Swarm() as swarm:
        clients = Returning(behind, swarm, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        wait_until(lambda: sum(behind.connections()) == CLIENTS, "all clients are counted")
        # On a busy machine Envoy may have left one gateway out, whose health check took too long.
        counts = behind.connections()
        first = counts.index(max(counts))
        process = behind.gateways[first].process
        assert process is not None
        process.terminate()
        clients.until(lambda: behind.connections()[1 - first] == CLIENTS, "all clients are on the other gateway")
