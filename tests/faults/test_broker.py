"""Loss of the broker: clients stay connected and receive events again afterwards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.servers import RabbitMQ, free_port, seldom, wait_until
from tests.support.swarm import Swarm

CLIENTS = 200
CONNECTED = "peatio_ws_broker_connected"


@pytest.fixture(scope="module")
def own_broker(folder: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(folder / "rabbitmq-to-kill")
    yield server
    server.close()


@pytest.mark.parametrize(("how", "scheme"), [("stop", "amqp"), ("kill", "amqp"), ("freeze", "amqps")])
def test_clients_stay_connected_while_the_broker_restarts(
    folder: Path, own_broker: RabbitMQ, signer: Signer, how: str, scheme: str
) -> None:
    gateway = GatewayProcess(folder, {**own_broker.environ(scheme), **signer.environ, "WEB_CONCURRENCY": "2"})
    try:
        with Swarm() as swarm:
            swarm.add(gateway.port, [signer.token(f"ID{number}") for number in range(CLIENTS)])
            before = len(gateway.events())
            if how == "freeze":
                own_broker.freeze()
            else:
                getattr(own_broker, how)()
            swarm.until(seldom(lambda: gateway.metric(CONNECTED) == 0), "the loss is noticed", 60)
            assert gateway.operators("/readyz")[0] == 503
            own_broker.thaw() if how == "freeze" else own_broker.start()
            swarm.until(seldom(lambda: gateway.metric(CONNECTED) == 2), "both workers are back", 60)
            with Publisher(own_broker.url) as publisher:
                for number in range(CLIENTS):
                    publisher.order(f"ID{number}", number)
            swarm.until(lambda: all(len(client.texts) == 3 for client in swarm.clients), "each member has its order")
            for number, client in enumerate(swarm.clients):
                assert json.loads(client.texts[2])["orderbook"]["id"] == number
                assert not client.ended
        said = Counter((event["event"].partition(";")[0], event.get("events")) for event in gateway.events()[before:])
        for kind in ("private", "public"):
            # Public and private events have separate connections. One may survive the freeze; a connection that is lost
            # again while the broker starts counts as another loss.
            lost, made = said["broker connection lost", kind], said["receiving from the broker", kind]
            assert lost == made, "each loss is logged once"
        assert said["broker connection lost", "private"] + said["broker connection lost", "public"] >= 2
        assert not gateway.tracebacks()
    finally:
        gateway.stop()


def test_gateway_starts_without_a_broker_and_becomes_ready_later(
    folder: Path, own_broker: RabbitMQ, signer: Signer
) -> None:
    own_broker.kill()
    environ = {"AMQP_URL": own_broker.url, "REDIS_URL": f"redis://127.0.0.1:{free_port()}", **signer.environ}
    gateway = GatewayProcess(folder, environ, wait=False)
    try:
        wait_until(lambda: gateway.operators("/readyz")[0] == 503, "the gateway answers but is not ready")
        assert json.loads(gateway.operators("/readyz")[1])["problems"] == ["not connected to the broker"]
        assert gateway.operators("/healthz")[0] == 200
        with gateway.member(signer.token("IDANN")) as ann:
            own_broker.start()
            gateway.wait_ready()
            with Publisher(own_broker.url) as publisher:
                publisher.order("IDANN", 5)
            assert receive(ann)["orderbook"]["id"] == 5
        events = Counter(event["event"] for event in gateway.events())
        assert events["cannot read from the broker; retrying"] == 2
        assert events["broker connection lost; retrying"] == 0
    finally:
        gateway.stop()


def test_gateway_connects_to_the_next_broker(folder: Path, broker: RabbitMQ, signer: Signer) -> None:
    urls = f"amqp://guest:guest@127.0.0.1:{free_port()}//;{broker.url}"
    gateway = GatewayProcess(folder, {"AMQP_URL": urls, **signer.environ})
    try:
        with gateway.member(signer.token("IDANN")) as ann, Publisher(broker.url) as publisher:
            publisher.order("IDANN", 6)
            assert receive(ann)["orderbook"]["id"] == 6
    finally:
        gateway.stop()
