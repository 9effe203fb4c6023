"""Publishing without RabbitMQ: to the in-process broker, and with answers that a test chooses."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from amqp import spec
from kombu import Connection, Queue
from kombu.transport import memory
from kombu.transport.virtual import BrokerState

from peatio_ws import publisher as room
from peatio_ws.amqp import connection
from peatio_ws.amqp.connection import connection_errors, exchange
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.errors import PublishError
from peatio_ws.protocol.exchanges import RANGER
from peatio_ws.publisher import Publisher
from tests.support.small_broker import SmallBroker


class Answering:
    """The in-process broker, which has no confirms: they come from `answers` when the publisher waits for them.

    An answer is a delivery tag, whether it includes all earlier ones, and whether it is positive; or an error to raise.
    """

    def __init__(self, publisher: Confirming, connection: Any) -> None:
        self._publisher, self._connection = publisher, connection

    def drain_events(self, timeout: float) -> None:
        answers = self._publisher.answers
        if not answers:
            raise TimeoutError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        tag, multiple, yes = answer
        if tag in self._publisher.comes_back:
            self._publisher._on_return()
        (self._publisher._on_ack if yes else self._publisher._on_nack)(tag, multiple)

    def close(self) -> None:
        self._publisher.closed = True
        self._connection.close()

    collect = close


class Confirming(Publisher):
    def __init__(self) -> None:
        super().__init__(EMBEDDED_BROKER)
        self.answers: list[Any] = []
        self.comes_back: set[int] = set()
        self.closed = False
        self.opened = 0

    def _prepare(self, connection: Any) -> None:
        super()._prepare(connection)
        self._confirms = True
        self._connection = Answering(self, connection)
        self.opened += 1


def publish(publisher: Publisher, count: int) -> None:
    for number in range(count):
        publisher.publish(RANGER, "public.btcusd.trades", {}, b"%d" % number)


def three(publisher: Confirming, answers: list[tuple[int, bool, bool]], fault: BaseException | None = None) -> None:
    """Publish three messages with these answers. Return the error."""
    with publisher:
        publish(publisher, 3)
        publisher.answers = answers
        if fault:
            raise fault


def test_block_ends_once_everything_is_confirmed() -> None:
    with Confirming() as publisher:
        publish(publisher, 5)
        assert publisher.confirmed == 0
        publisher.answers = [(2, False, True), (4, True, True), (5, False, True)]
    assert (publisher.sent, publisher.confirmed, publisher.answers) == (5, 5, [])
    assert publisher.closed


@pytest.mark.parametrize("answers", [[], [(1, False, True)], [(2, True, True)]])
def test_unconfirmed_message_is_reported(answers: list[tuple[int, bool, bool]]) -> None:
    publisher = Confirming()
    with pytest.raises(TimeoutError, match="not confirmed"):
        three(publisher, answers)
    assert publisher.confirmed < 3
    assert publisher.closed


@pytest.mark.parametrize("multiple", [False, True])
def test_refusal_is_reported(multiple: bool) -> None:
    publisher = Confirming()
    with pytest.raises(ConnectionError, match="refused"):
        three(publisher, [(1, False, True), (3, multiple, False), (2, False, True)])
    assert publisher.confirmed == (1 if multiple else 2)


def test_unconfirmed_messages_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_UNCONFIRMED", 4)
    with Confirming() as publisher:
        publisher.answers = [(2, True, True), (5, True, True), (6, False, True)]
        publish(publisher, 4)
        assert len(publisher.answers) == 2
        publish(publisher, 2)
        assert publisher.confirmed == 5


def test_broker_error_is_raised_without_waiting_for_the_rest() -> None:
    publisher = Confirming()
    with pytest.raises(ConnectionResetError):
        three(publisher, [], ConnectionResetError())
    assert publisher.closed


def test_message_arrives_unchanged() -> None:
    with Connection(EMBEDDED_BROKER) as reader:
        channel = reader.default_channel
        queue = Queue("test_publishing", exchange(RANGER, False), routing_key="private.#", channel=channel)
        queue.declare()
        try:
            with Confirming() as publisher:
                publisher.publish(RANGER, "private.ID1.trade", {"market": "btcusd"}, b'{"id": 1.50}\xff')
                publisher.answers = [(1, False, True)]
            message = queue.get(no_ack=True)
            assert message.body == b'{"id": 1.50}\xff'
            assert message.delivery_info["routing_key"] == "private.ID1.trade"
            assert message.headers == {"market": "btcusd"}
        finally:
            queue.delete()


@pytest.mark.parametrize("fault", [ValueError("line 7"), KeyboardInterrupt()])
def test_lines_before_a_bad_line_or_ctrl_c_are_confirmed(fault: BaseException) -> None:
    publisher = Confirming()
    with pytest.raises(type(fault)):
        three(publisher, [(3, True, True)], fault)
    assert publisher.confirmed == 3
    assert publisher.closed


# ---- one at a time


@pytest.fixture
def queue() -> Iterator[Queue]:
    """A queue that receives every message of Ranger's exchange."""
    with Connection(EMBEDDED_BROKER) as reader:
        channel = reader.default_channel
        exchange(RANGER, False)(channel).declare()
        queue = Queue("test_publisher", exchange(RANGER, False), channel=channel)
        queue.queue_declare()
        queue.bind_to(exchange(RANGER, False).bind(channel), routing_key="#")
        yield queue
        queue.delete()


def taken(queue: Queue) -> tuple[str, bytes]:
    message = queue.get(no_ack=True)
    return message.delivery_info["routing_key"], message.body


def test_events_reach_subscribed_clients(queue: Queue) -> None:
    with Publisher(EMBEDDED_BROKER) as publisher:
        assert publisher.to_member("ID1", "deposit", {"amount": Decimal("1.50")})
        assert publisher.to_member("ID1", "order", b'{"id": 1.0}')
        for stream in ("btcusd.trades", "global.tickers", "admin.eurusd.sys"):
            publisher.to_stream(stream, [1])
    assert [taken(queue) for _ in range(5)] == [
        ("private.ID1.deposit", b'{"amount":"1.50"}'),
        ("private.ID1.order", b'{"id": 1.0}'),
        ("public.btcusd.trades", b"[1]"),
        ("global.tickers", b"[1]"),
        ("admin.eurusd.sys", b"[1]"),
    ]


@pytest.mark.parametrize(
    ("push", "said"),
    [
        (lambda to: to.to_member("ID1", "a.b", {}), "'a.b' is not a name"),
        (lambda to: to.to_member("ID1", "", {}), "'' is not a name"),
        (lambda to: to.to_member("", "a", {}), "'private..a': the routing key is invalid"),
        (lambda to: to.to_member("I.D", "a", {}), "the routing key is invalid"),
        (lambda to: to.to_member("ID1", "a", b"{"), "the body is not JSON"),
        (lambda to: to.to_member("ID1", "order", b'{"id":'), "the body is not JSON"),
        (lambda to: to.to_member("I" * 300, "a", {}), "longer than 255"),
        (lambda to: to.to_stream("order", {}), "to_member is for members"),
        (lambda to: to.to_stream("private.ID1.order", {}), "to_member is for members"),
        (lambda to: to.to_stream("a.b.c.d", {}), "is not a public or prefixed stream"),
        (lambda to: to.to_stream("btcusd.trades", b"nothing"), "the body is not JSON"),
    ],
)
def test_message_that_the_gateway_would_drop_is_refused(queue: Queue, push: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        push(Publisher(EMBEDDED_BROKER))
    assert queue.get(no_ack=True) is None


def test_event_that_only_another_process_could_receive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.Transport, "global_state", BrokerState())
    publisher = Publisher(EMBEDDED_BROKER)
    for push in (lambda: publisher.to_member("ID1", "note", {}), lambda: publisher.to_stream("btcusd.trades", {})):
        with pytest.raises(PublishError, match="no gateway of this process receives from it"):
            push()


def test_a_lost_connection_is_opened_again_and_the_event_published_again() -> None:
    publisher = Confirming()
    publisher.answers = [(1, False, True), ConnectionResetError("gone"), (1, False, True)]
    assert publisher.to_stream("btcusd.trades", {})
    assert publisher.to_stream("btcusd.trades", {})
    assert (publisher.opened, publisher.answers, publisher.closed) == (2, [], True)


def test_forked_process_opens_its_own_connection_and_leaves_the_parents_open(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Confirming()
    publisher.answers = [(1, False, True), (1, False, True)]
    publisher.to_member("ID1", "order", {"id": 1})
    publish(publisher, 1)  # the parent waits for the confirm
    inherited = publisher._connection
    publisher._locks[os.getpid()].acquire()  # by another thread of the parent
    monkeypatch.setattr(room.os, "getpid", lambda: -1)
    publisher.confirm()
    publisher.answers = [(1, False, True)]
    publisher.to_member("ID1", "order", {"id": 2})
    assert (publisher.opened, publisher.closed, publisher.confirmed) == (2, False, 1)
    assert publisher._connection is not inherited
    monkeypatch.setattr(room.os, "getpid", lambda: -2)
    publisher.close()
    assert not publisher.closed


def test_threads_of_a_forked_process_share_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Confirming()
    publisher.answers = [(1, False, True), (2, False, True)]

    def other_thread() -> int:
        """Another thread runs when the first one asks in which process it is."""
        monkeypatch.setattr(room.os, "getpid", lambda: -1)
        publisher.to_member("ID1", "order", {"id": 1})
        return -1

    monkeypatch.setattr(room.os, "getpid", other_thread)
    publisher.to_member("ID1", "order", {"id": 2})
    assert (publisher.opened, publisher.confirmed) == (1, 2)


@pytest.mark.parametrize("at", [spec.Channel.Open, spec.Confirm.Select, spec.Exchange.Declare, spec.Basic.Publish])
def test_broker_that_freezes_is_an_error_within_the_time_limit(at: tuple[int, int]) -> None:
    with SmallBroker(freezes_at=at) as broker, pytest.raises(PublishError):
        Publisher(broker.url, timeout=0.2).to_member("ID1", "order", {"id": 1})


def test_body_that_a_frozen_broker_does_not_read_is_an_error() -> None:
    with SmallBroker(freezes_at=spec.Basic.Publish) as broker, pytest.raises(connection_errors(broker.url)) as raised:
        Publisher(broker.url, timeout=0.2).publish(RANGER, "public.btcusd.trades", {}, b"0" * 20_000_000)
    assert "Errno" not in str(raised.value.__context__), "the limit was TCP_USER_TIMEOUT, not the publisher's"


def test_publisher_closes_although_its_broker_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.1)
    with SmallBroker() as broker, Publisher(broker.url) as publisher:
        assert publisher.to_member("ID1", "order", {"id": 1})
        broker.frozen.set()


@pytest.mark.parametrize("fault", [ConnectionResetError("gone"), (1, False, False), None])
def test_message_refused_twice_is_an_error(fault: Any) -> None:
    publisher = Confirming()
    publisher.answers = [fault] if fault else []
    with pytest.raises(PublishError, match=r"memory:// did not accept the message: .*; is it up"):
        publisher.to_stream("btcusd.trades", {})
    assert publisher.opened == 1
    publisher.answers = [(1, False, True)]
    assert publisher.to_stream("btcusd.trades", {}), "the next message was not published"


def test_returned_private_event_is_published_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(room.time, "sleep", waits.append)
    publisher = Confirming()
    publisher.answers, publisher.comes_back = [(number, False, True) for number in range(1, 10)], {1, 2}
    assert publisher.to_member("ID1", "note", {})
    assert (publisher.sent, len(waits)) == (3, 2)
    publisher.comes_back = {4}
    assert not publisher.to_stream("btcusd.trades", {}), "unroutable events of public streams are not an error"
    assert publisher.sent == 4


def test_unroutable_event_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = Confirming()
    publisher.answers, publisher.comes_back = [(1, False, True), (2, False, True)], {2}
    assert publisher.to_member("ID1", "note", {}) is True
    monkeypatch.setattr(room, "RETURNED_SECONDS", -1.0)  # the connection has been used before
    assert publisher.to_member("ID1", "note", {}) is False
    assert publisher.sent == 2


def test_publish_that_waits_too_long_for_others_fails() -> None:
    publisher = Publisher(EMBEDDED_BROKER, timeout=0.01)
    lock = publisher._locks[os.getpid()] = threading.Lock()
    with lock, pytest.raises(PublishError, match="other calls have waited"):
        publisher.to_stream("btcusd.trades", {})


def test_unreachable_broker_is_reported_without_its_password() -> None:
    with pytest.raises(PublishError, match=r"127\.0\.0\.1:1 or 127\.0\.0\.1:2/x did not accept the message") as error:
        Publisher("amqp://me:secret@127.0.0.1:1;amqp://me:secret@127.0.0.1:2/x").to_member("ID1", "note", {})
    assert "secret" not in str(error.value)
