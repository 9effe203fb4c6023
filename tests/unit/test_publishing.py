"""Publishing without a broker: an in-process one in its place, and answers that a test gives itself."""

from __future__ import annotations

import pytest
from kombu import Connection, Queue

from peatio_ws import publishing
from peatio_ws.consumer import exchange
from peatio_ws.errors import ConfigurationError
from peatio_ws.events import RANGER
from peatio_ws.publishing import Publisher, broker
from peatio_ws.settings import EMBEDDED_BROKER


class Confirming(Publisher):
    """Publishes to the in-process broker, which knows no confirms: they come from `answers`, when they are waited for.

    An answer is a delivery tag, whether it stands for all before it, and whether it is a yes.
    """

    def __init__(self) -> None:
        super().__init__(EMBEDDED_BROKER, False)
        self.answers: list[tuple[int, bool, bool]] = []
        self.closed = False

    def __enter__(self) -> Confirming:
        self._channel = self._connection.default_channel
        self._producer = self._connection.Producer(self._channel)
        original, self._connection = self._connection, self
        self._original = original
        return self

    def drain_events(self, timeout: float) -> None:
        if not self.answers:
            raise TimeoutError
        tag, multiple, yes = self.answers.pop(0)
        (self._on_ack if yes else self._on_nack)(tag, multiple)

    def close(self) -> None:
        self.closed = True
        self._original.close()


def publish(publisher: Publisher, count: int) -> None:
    for number in range(count):
        publisher.publish(RANGER, "public.btcusd.trades", {}, b"%d" % number)


def three(publisher: Confirming, answers: list[tuple[int, bool, bool]], fault: Exception | None = None) -> None:
    """Publish three messages, which are answered like this, and meet the fault."""
    with publisher:
        publish(publisher, 3)
        publisher.answers = answers
        if fault:
            raise fault


def test_the_block_is_left_when_all_is_confirmed() -> None:
    with Confirming() as publisher:
        publish(publisher, 5)
        assert publisher.confirmed == 0
        publisher.answers = [(2, False, True), (4, True, True), (5, False, True)]
    assert (publisher.sent, publisher.confirmed, publisher.answers) == (5, 5, [])
    assert publisher.closed


@pytest.mark.parametrize("answers", [[], [(1, False, True)], [(2, True, True)]])
def test_what_is_not_confirmed_is_told(answers: list[tuple[int, bool, bool]]) -> None:
    publisher = Confirming()
    with pytest.raises(TimeoutError, match="not confirmed"):
        three(publisher, answers)
    assert publisher.confirmed < 3
    assert publisher.closed


@pytest.mark.parametrize("multiple", [False, True])
def test_what_is_refused_is_told(multiple: bool) -> None:
    publisher = Confirming()
    with pytest.raises(ConnectionError, match="refused"):
        three(publisher, [(1, False, True), (3, multiple, False), (2, False, True)])
    assert publisher.confirmed == (1 if multiple else 2)


def test_no_more_than_so_many_wait_for_their_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MOST_UNCONFIRMED", 4)
    with Confirming() as publisher:
        publisher.answers = [(2, True, True), (5, True, True), (6, False, True)]
        publish(publisher, 4)
        assert len(publisher.answers) == 2
        publish(publisher, 2)
        assert publisher.confirmed == 5


def test_a_fault_of_the_broker_is_not_hidden_by_the_wait_for_the_rest() -> None:
    publisher = Confirming()
    with pytest.raises(ConnectionResetError):
        three(publisher, [], ConnectionResetError())
    assert publisher.closed


def test_a_message_arrives_as_it_was_handed_over() -> None:
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


def test_only_the_brokers_variables_are_looked_at() -> None:
    found = broker({"AMQP_URL": "amqp://host/", "AMQP_EXCHANGES_DURABLE": "1", "WEBSOCKET_PORT": "x", "PATH": ""})
    assert (found.amqp_urls, found.amqp_durable) == (("amqp://host/",), True)
    assert broker({"RABBITMQ_HOST": "rabbit"}).amqp_urls == ("amqp://guest:guest@rabbit:5672/%2F",)
    with pytest.raises(ConfigurationError, match="RABBITMQ_PORT"):
        broker({"RABBITMQ_PORT": "many", "LOG_LEVEL": "loud"})
