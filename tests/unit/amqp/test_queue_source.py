"""A worker's own queue, on the in-process broker and on a model of RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from amqp.exceptions import AccessRefused, ResourceLocked
from kombu import Connection, Exchange, Producer
from structlog.testing import capture_logs

from peatio_ws.amqp import queue_source
from peatio_ws.amqp.connection import open_connection
from peatio_ws.amqp.queue_source import QueueSource
from peatio_ws.amqp.source import Reopen, SourceUnavailable
from peatio_ws.amqp.topology import PRIVATE
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.protocol.exchanges import RANGER, Delivery

PUBLIC = ((RANGER, "public.#"),)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with open_connection(EMBEDDED_BROKER) as opened:
        opened.connect()
        yield opened


def publish(connection: Connection, exchange: str, kind: str, key: str, body: str) -> None:
    producer = Producer(connection.default_channel, Exchange(exchange, kind, durable=False), key)
    producer.publish(body, content_type="application/json", content_encoding="utf-8")


def test_events_are_handled_once_the_source_is_open(connection: Connection) -> None:
    handled: list[Delivery] = []
    read: list[bool] = []
    source = QueueSource("private", False, PRIVATE, handled.append)
    source.open(connection, lambda: read.append(True))
    assert read == [True]
    publish(connection, "peatio.orderbook", "fanout", "", '{"id":1}')
    publish(connection, RANGER, "topic", "private.ANN.order", '{"id":2}')
    publish(connection, RANGER, "topic", "public.btcusd.trades", '{"id":3}')
    for _ in range(2):
        connection.drain_events(timeout=20)
    assert [(one.exchange, one.routing_key, one.body, one.offset) for one in handled] == [
        ("peatio.orderbook", "", b'{"id":1}', None),
        (RANGER, "private.ANN.order", b'{"id":2}', None),
    ]


def test_own_queue_is_never_behind(connection: Connection) -> None:
    source = QueueSource("private", False, PUBLIC, lambda _: None)
    source.open(connection, lambda: None)
    source.prepare(connection)
    source.after_batch()
    source.check()
    assert source.has_read_up_to(1e9)
    assert source.lag() == 0


class OnDemand:
    """A stand-in for on-demand bindings that records calls."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def attach(self, _connection: Any, queue: str, on_read: Any) -> None:
        self.notes.append(queue)
        on_read()

    def detach(self) -> None:
        self.notes.append("detached")


def test_bindings_on_demand_belong_to_the_queue_of_each_connection(connection: Connection) -> None:
    on_demand: Any = OnDemand()
    read: list[bool] = []
    source = QueueSource("public", False, PUBLIC, lambda _: None, on_demand)
    for _ in range(2):
        source.open(connection, lambda: read.append(True))
        source.closed(unreachable=True)
    first, detached, second, detached_again = on_demand.notes
    assert first.startswith("peatio_ws.public.")
    assert second.startswith("peatio_ws.public.")
    assert first != second, "the old queue may still exist at a broker that has not noticed the loss"
    assert detached == detached_again == "detached"
    assert read == [True, True]


class RabbitMQ:
    """A broker that accepts every declaration and records it."""

    def __init__(self) -> None:
        self.queues: list[dict[str, Any]] = []
        self.bound: list[tuple[str, str]] = []
        self.looked_at: list[str] = []
        self.reserved = set[str]()
        self.done: list[str] = []  # what happened to exchanges
        self.consumers: dict[str, Any] = {}
        self.transport = SimpleNamespace(driver_type="amqp")
        self.default_channel = self
        self.refuses = False
        self.declared: list[Any] = []  # arguments of queues that the worker reads

    def queue_declare(self, name: str, **_: Any) -> None:
        if self.refuses:
            raise AccessRefused
        if name in self.reserved:
            raise ResourceLocked
        self.reserved.add(name)

    def queue_bind(self, *_: Any) -> None: ...

    def channel(self) -> RabbitMQ:
        return self

    def close(self) -> None: ...

    def exchange_bind(self, *_: Any) -> None:
        self.done.append("watched")

    def exchange_declare(self, name: str, _kind: str, **how: Any) -> None:
        if how.get("nowait"):
            self.looked_at.append(name)


@pytest.fixture
def rabbitmq(monkeypatch: pytest.MonkeyPatch) -> Any:
    broker = RabbitMQ()

    class Queue:
        def __init__(self, name: str, **how: Any) -> None:
            self.name = name
            broker.queues.append({"name": name, **how})

        def bind(self, _channel: Any) -> Queue:
            return self

        queue_arguments: Any = None

        def queue_declare(self) -> None:
            broker.declared.append(self.queue_arguments)

        def bind_to(self, exchange: Exchange, routing_key: str) -> None:
            broker.bound.append((exchange.name, routing_key))
            broker.done.append("bound")

    monkeypatch.setattr(queue_source, "Queue", Queue)

    def consume(_channel: Any, name: str, handle: Any) -> None:
        broker.consumers[name] = handle

    monkeypatch.setattr(queue_source, "consume", consume)
    return broker


def test_the_queue_on_rabbitmq_is_exclusive_and_bounded(rabbitmq: Any) -> None:
    QueueSource("private", False, PRIVATE, lambda _: None).open(rabbitmq, lambda: None)
    (queue,) = rabbitmq.queues
    assert (queue["exclusive"], queue["auto_delete"], queue["durable"]) == (True, True, False)
    assert queue["max_length_bytes"] == queue_source.MAX_QUEUE_BYTES
    assert rabbitmq.bound == list(PRIVATE)


def test_a_source_whose_events_were_dropped_is_opened_again(rabbitmq: Any) -> None:
    source = QueueSource("private", False, PRIVATE, lambda _: None)
    source.open(rabbitmq, lambda: None)
    source.after_batch()
    (notices,) = [name for name in rabbitmq.consumers if name.endswith(".dropped")]
    rabbitmq.consumers[notices](Delivery("", notices, {}, b"", None))
    with pytest.raises(Reopen, match="dropped"):
        source.after_batch()
    source.open(rabbitmq, lambda: None)
    source.after_batch()


def test_without_permissions_the_queue_is_read_all_the_same(rabbitmq: Any) -> None:
    rabbitmq.refuses = True
    source = QueueSource("private", False, PRIVATE, lambda _: None)
    with capture_logs() as logs:
        for _ in range(2):
            source.open(rabbitmq, lambda: None)
    assert all(name.startswith("peatio_ws.private.") for name in rabbitmq.consumers)
    assert rabbitmq.declared == [None, None], "arguments that the broker refuses"
    assert [entry["events"] for entry in logs] == ["private"], "logged once"


def test_canaries_are_checked_while_connected(rabbitmq: Any) -> None:
    source = QueueSource("public", False, PUBLIC, lambda _: None)
    source.check()
    source.open(rabbitmq, lambda: None)
    source.check()
    (canary,) = rabbitmq.looked_at
    assert canary.startswith(f"peatio_ws.watch.public.{RANGER}.")
    source.closed(unreachable=False)
    source.check()
    assert rabbitmq.looked_at == [canary]


def test_each_worker_has_a_canary_of_its_own(rabbitmq: Any) -> None:
    sources = [QueueSource("public", False, PUBLIC, lambda _: None) for _ in range(3 * queue_source.WATCH_NAMES)]
    for source in sources:
        source.open(rabbitmq, lambda: None)
        source.check()
    assert len(set(rabbitmq.looked_at)) == len(rabbitmq.looked_at) == len(sources)


def test_an_exchange_is_watched_before_the_queue_is_bound(rabbitmq: Any) -> None:
    """If it is declared again in between, its canary is missing."""
    QueueSource("public", False, PUBLIC, lambda _: None).open(rabbitmq, lambda: None)
    assert rabbitmq.done == ["watched", "bound"]


def test_a_silent_broker_makes_the_source_unavailable(rabbitmq: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_source, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(queue_source, "consume", lambda *_: gevent.sleep(30))
    with pytest.raises(SourceUnavailable) as unavailable:
        QueueSource("public", False, PUBLIC, lambda _: None).open(rabbitmq, lambda: None)
    assert not unavailable.value.answered
