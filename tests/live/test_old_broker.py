"""The relay that makes RabbitMQ look old, in front of a real node, and a gateway behind it.

The relay behaves as the old versions are documented. The gateway is tested before and after an upgrade of the broker.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import amqp
import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from peatio_ws.amqp.history_stream.setup import ARGUMENTS
from peatio_ws.amqp.source import Refusal
from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.old_broker import OldBroker
from tests.support.servers import RabbitMQ, wait_until


@pytest.fixture
def queue(broker: RabbitMQ) -> Iterator[str]:
    """The name of a queue that a test may declare."""
    name = f"old-{uuid.uuid4().hex}"
    yield name
    with channel_of(broker.url) as channel:
        channel.queue_delete(name)


@contextmanager
def channel_of(url: str) -> Iterator[amqp.Channel]:
    with Connection(url) as connection:
        yield connection.default_channel


def declare_stream(channel: amqp.Channel, name: str) -> None:
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=dict(ARGUMENTS))


def kind_of(broker: RabbitMQ, name: str) -> str:
    """Return the queue's type on the node, or an empty text if it does not exist."""
    kinds = dict(line.split("\t") for line in broker.ctl("list_queues", "name", "type").splitlines())
    return str(kinds.get(name, ""))


def published_and_received(channel: amqp.Channel, name: str, **consume: Any) -> bytes:
    """Publish a message to a queue and return what is consumed."""
    received: list[bytes] = []
    channel.basic_publish(amqp.Message(b"x" * 300_000), "", name)  # takes several frames
    channel.basic_qos(0, 10, False)
    channel.basic_consume(name, callback=lambda message: received.append(message.body), **consume)
    while not received:
        channel.connection.drain_events(timeout=20)
    return received[0]


def test_rabbitmq_37_declares_a_classic_queue_instead_of_a_stream(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.7.28") as old, channel_of(old.url) as channel:
        assert channel.connection.server_properties["version"] == "3.7.28"
        assert channel.connection.server_properties["product"] == "RabbitMQ"
        declare_stream(channel, queue)
        assert old.declared == [(queue, dict(ARGUMENTS))]
        assert kind_of(broker, queue) == "classic"
        body = published_and_received(channel, queue, arguments={"x-stream-offset": "first"})
        assert body == b"x" * 300_000


def test_rabbitmq_38_refuses_a_stream_with_406(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.8.34") as old, channel_of(old.url) as channel:
        with pytest.raises(PreconditionFailed):
            declare_stream(channel, queue)
        assert kind_of(broker, queue) == ""
        channel.queue_declare(queue, durable=True, auto_delete=False)
        assert published_and_received(channel, queue)


def test_rabbitmq_39_has_streams_and_passes_unchanged(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.9.0") as old, channel_of(old.url) as channel:
        assert channel.connection.server_properties["version"] == "3.9.0"
        declare_stream(channel, queue)
        assert kind_of(broker, queue) == "stream"
        assert published_and_received(channel, queue, arguments={"x-stream-offset": "first"})


def test_upgrade_changes_the_version_and_cuts_connections(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.7.28") as old:
        with channel_of(old.url) as channel:
            old.version = "3.12.0"
            old.cut()
            with pytest.raises(OSError):
                channel.connection.drain_events(timeout=20)
        with channel_of(old.url) as channel:
            assert channel.connection.server_properties["version"] == "3.12.0"
            declare_stream(channel, queue)
        assert kind_of(broker, queue) == "stream"
        assert old.connections == 2


# ---- a gateway behind the relay

OLD = ("3.7.28", "3.8.34")
NEW = "3.12.14"


class Pair(NamedTuple):
    """A gateway and its old broker.

    Attributes:
        queue: the gateway's `AMQP_HISTORY_QUEUE`.
        workers: the gateway's first workers.
    """

    old: OldBroker
    gateway: GatewayProcess
    queue: str
    workers: list[int]


@pytest.fixture(scope="module")
def pairs(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[dict[str, Pair]]:
    """A ready gateway for each version. They start together, since starting is mostly waiting."""
    with ExitStack() as stack:
        made = {}
        for version in OLD:
            old, queue = stack.enter_context(OldBroker(broker.port, version)), f"history-{uuid.uuid4().hex}"
            environ = {"AMQP_URL": old.url, "AMQP_HISTORY_QUEUE": queue, **signer.environ}
            gateway = GatewayProcess(folder, environ, wait=False)
            stack.callback(gateway.stop)
            made[version] = (old, gateway, queue)
        for _, gateway, _ in made.values():
            gateway.wait_ready()
        yield {version: Pair(*parts, parts[1].workers()) for version, parts in made.items()}
    with channel_of(broker.url) as channel:
        for _, _, queue in made.values():
            channel.queue_delete(queue)


@pytest.fixture(scope="module")
def upgraded(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """Upgrade both brokers, which breaks their connections."""
    for pair in pairs.values():
        pair.old.version = NEW
        pair.old.cut()
    return pairs


def refusals(pair: Pair) -> list[dict[str, Any]]:
    return [line for line in pair.gateway.events() if "cannot read the history stream" in line["event"]]


def assert_orders_arrive(pair: Pair, signer: Signer, publisher: Publisher) -> None:
    with pair.gateway.member(signer.token("ID1")) as member:
        publisher.order("ID1", 1)
        assert receive(member)["orderbook"]["id"] == 1


@pytest.mark.parametrize("version", OLD)
def test_gateway_is_ready_on_a_broker_without_streams(
    version: str, pairs: dict[str, Pair], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    """RabbitMQ 3.7 would declare a classic queue without an error, and it would grow without limit."""
    pair = pairs[version]
    assert_orders_arrive(pair, signer, publisher)
    assert pair.queue not in [name for name, _ in pair.old.declared]
    assert kind_of(broker, pair.queue) == ""
    (refusal,) = refusals(pair)
    assert refusal["remedy"] == Refusal.TOO_OLD.value
    assert version in refusal["error"]
    assert pair.gateway.operators("/readyz")[0] == 200
    assert pair.gateway.workers() == pair.workers


@pytest.mark.parametrize("version", OLD)
def test_worker_reads_the_stream_after_an_upgrade(
    version: str, upgraded: dict[str, Pair], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    pair = upgraded[version]

    def reads_the_stream() -> bool:
        readable = any(line["event"] == "history stream readable again" for line in pair.gateway.events())
        return readable and pair.gateway.operators("/readyz")[0] == 200

    wait_until(reads_the_stream, "the stream is read")
    assert kind_of(broker, pair.queue) == "stream"
    assert_orders_arrive(pair, signer, publisher)
    assert len(refusals(pair)) == 1, "repeated trials have to log one refusal"
    assert pair.gateway.workers() == pair.workers
