"""The relay that makes RabbitMQ look old, in front of a real node: it behaves as the old versions are documented. And a
gateway behind it, before and after the broker is upgraded.
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

from peatio_ws.amqp.source import Refusal
from peatio_ws.amqp.stream_setup import ARGUMENTS
from tests.support.gateway import GatewayProcess, Publisher, Signer, receive
from tests.support.old_broker import OldBroker
from tests.support.servers import RabbitMQ, wait_until


@pytest.fixture
def queue(broker: RabbitMQ) -> Iterator[str]:
    """The name of a queue that the test may declare."""
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
    """Return the queue's type at the node; empty without such a queue."""
    kinds = dict(line.split("\t") for line in broker.ctl("list_queues", "name", "type").splitlines())
    return str(kinds.get(name, ""))


def published_and_received(channel: amqp.Channel, name: str, **consume: Any) -> bytes:
    """Publish a message to a queue, and consume it."""
    received: list[bytes] = []
    channel.basic_publish(amqp.Message(b"x" * 300_000), "", name)  # in several frames
    channel.basic_qos(0, 10, False)
    channel.basic_consume(name, callback=lambda message: received.append(message.body), **consume)
    while not received:
        channel.connection.drain_events(timeout=20)
    return received[0]


def test_rabbitmq_37_silently_makes_a_classic_queue_of_a_stream(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.7.28") as old, channel_of(old.url) as channel:
        assert channel.connection.server_properties["version"] == "3.7.28"
        assert channel.connection.server_properties["product"] == "RabbitMQ"
        declare_stream(channel, queue)
        assert old.declared == [(queue, dict(ARGUMENTS))]
        assert kind_of(broker, queue) == "classic"
        body = published_and_received(channel, queue, arguments={"x-stream-offset": "first"})
        assert body == b"x" * 300_000


def test_38_refuses_a_stream_with_406_and_the_connection_stays(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.8.34") as old, channel_of(old.url) as channel:
        with pytest.raises(PreconditionFailed):
            declare_stream(channel, queue)
        assert kind_of(broker, queue) == ""
        channel.queue_declare(queue, durable=True, auto_delete=False)
        assert published_and_received(channel, queue)


def test_from_39_on_there_are_streams_and_all_passes_unchanged(broker: RabbitMQ, queue: str) -> None:
    with OldBroker(broker.port, "3.9.0") as old, channel_of(old.url) as channel:
        assert channel.connection.server_properties["version"] == "3.9.0"
        declare_stream(channel, queue)
        assert kind_of(broker, queue) == "stream"
        assert published_and_received(channel, queue, arguments={"x-stream-offset": "first"})


def test_a_broker_is_upgraded_and_its_connections_are_cut(broker: RabbitMQ, queue: str) -> None:
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


# ---- a gateway behind it

OLD = ("3.7.28", "3.8.34")
NEW = "3.12.14"


class Pair(NamedTuple):
    """A gateway and the old broker that it reads from.

    Attributes:
        queue: its `AMQP_HISTORY_QUEUE`.
        workers: the processes that it started with.
    """

    old: OldBroker
    gateway: GatewayProcess
    queue: str
    workers: list[int]


@pytest.fixture(scope="module")
def pairs(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[dict[str, Pair]]:
    """One for each version, ready; started together, since a gateway waits more than it works."""
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
    """Both brokers are upgraded, which breaks their connections."""
    for pair in pairs.values():
        pair.old.version = NEW
        pair.old.cut()
    return pairs


def refusals(pair: Pair) -> list[dict[str, Any]]:
    return [line for line in pair.gateway.events() if "cannot read the history stream" in line["event"]]


def orders_come(pair: Pair, signer: Signer, publisher: Publisher) -> None:
    with pair.gateway.member(signer.token("ID1")) as member:
        publisher.order("ID1", 1)
        assert receive(member)["orderbook"]["id"] == 1


@pytest.mark.parametrize("version", OLD)
def test_gateway_is_ready_on_a_broker_without_streams(
    version: str, pairs: dict[str, Pair], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    """FAULTS 3: 3.7 makes a classic queue of a stream, without a word, and fills it for ever."""
    pair = pairs[version]
    orders_come(pair, signer, publisher)
    assert pair.queue not in [name for name, _ in pair.old.declared]
    assert kind_of(broker, pair.queue) == ""
    (told,) = refusals(pair)
    assert told["remedy"] == Refusal.TOO_OLD.value
    assert version in told["error"]
    assert pair.gateway.operators("/readyz")[0] == 200
    assert pair.gateway.workers() == pair.workers


@pytest.mark.parametrize("version", OLD)
def test_worker_comes_to_the_stream_when_its_broker_is_upgraded(
    version: str, upgraded: dict[str, Pair], broker: RabbitMQ, signer: Signer, publisher: Publisher
) -> None:
    pair = upgraded[version]

    def reads_the_stream() -> bool:
        told = any(line["event"] == "history stream readable again" for line in pair.gateway.events())
        return told and pair.gateway.operators("/readyz")[0] == 200

    wait_until(reads_the_stream, "the stream is read")
    assert kind_of(broker, pair.queue) == "stream"
    orders_come(pair, signer, publisher)
    assert len(refusals(pair)) == 1, "once, however often it is tried again"
    assert pair.gateway.workers() == pair.workers
