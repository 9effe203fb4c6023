"""The relay that makes RabbitMQ look old, in front of a real node: what the old versions are said to do, it does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from peatio_ws.stream_setup import ARGUMENTS
from tests.old_broker import OldBroker
from tests.servers import RabbitMQ


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
    """The queue's type, as the node knows it; empty where there is no such queue."""
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


def test_37_makes_a_classic_queue_of_a_stream_and_says_nothing(broker: RabbitMQ, queue: str) -> None:
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
