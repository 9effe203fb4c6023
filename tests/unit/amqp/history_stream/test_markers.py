"""Markers that are published to the history stream and read back, on a model of the broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from amqp.exceptions import (
    AccessRefused,
    AMQPNotImplementedError,
    InternalError,
    MessageNacked,
    NotFound,
    PreconditionFailed,
    ResourceError,
    ResourceLocked,
)

from peatio_ws.amqp.history_stream import markers
from peatio_ws.amqp.history_stream.markers import (
    PREFETCH,
    BrokerAlarm,
    is_refused_to_publishers,
    is_writable,
    publish_and_read_back,
    refusals_translated,
)
from peatio_ws.amqp.source import Refusal, SourceRefused, SourceUnavailable
from peatio_ws.protocol.exchanges import Delivery


class Broker:
    """A broker with one stream, and the connections to it.

    Attributes:
        errors: raised by the next publications, in order.
        earlier: deliveries before the marker.
        offset: the marker's offset; None if the queue is not a stream.
        silent, alarm: whether it delivers no marker, and whether it accepts no messages.
        lost: how many of the next markers it loses.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.earlier: list[Delivery] = []
        self.offset: int | None = 7
        self.silent = self.alarm = False
        self.lost = 0
        self.published: list[Any] = []
        self.acks: list[int] = []
        self.opened = self.closed = 0
        self.options: dict[str, Any] = {}
        self.transport_options: dict[str, Any] = {}
        self._deliver: Any = None
        self.connection = SimpleNamespace(on_blocked=None)
        self.default_channel = SimpleNamespace(
            basic_qos=lambda **_: None,
            basic_publish=self._publish,
            basic_ack=lambda tag, multiple: self.acks.append(tag) if multiple else None,
        )

    def clone(self, **options: Any) -> Broker:
        self.options |= options
        return self

    def connect(self) -> None:
        self.opened += 1

    def close(self) -> None: ...

    def collect(self) -> None:
        self.closed += 1

    def consume(self, _channel: Any, _queue: str, handle: Any, **_: Any) -> None:
        self._deliver = handle

    def _publish(self, message: Any, _exchange: str, queue: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.published.append(message)

    def drain_events(self) -> None:
        if self.alarm:
            self.connection.on_blocked("memory")  # type: ignore[misc]
            return
        if self.silent or self.lost:
            self.lost -= 1
            gevent.sleep(30)
        for tag, delivery in enumerate(self.earlier, 1):
            self._deliver(delivery, tag)
        body = bytes(self.published[-1].body)
        self._deliver(Delivery("", "q", {}, body, self.offset), len(self.earlier) + 1)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Broker()
    monkeypatch.setattr(markers, "consume", made.consume)
    monkeypatch.setattr(markers, "RETRY_SECONDS", 0.001)
    return made


def test_marker_is_read_back_with_its_offset(broker: Any) -> None:
    found = publish_and_read_back(broker, "q", 20, b"marker", {"id": "1"})
    assert (found.body, found.offset) == (b"marker", 7)
    (message,) = broker.published
    assert (message.properties["application_headers"], message.properties["delivery_mode"]) == ({"id": "1"}, 2)
    assert (broker.opened, broker.closed) == (1, 1), "the marker's own connection was not closed"


def test_every_marker_has_another_body(broker: Any) -> None:
    assert publish_and_read_back(broker, "q", 20).body != publish_and_read_back(broker, "q", 20).body


def test_events_and_other_workers_markers_are_skipped(broker: Any) -> None:
    broker.earlier = [Delivery("peatio.trade", "", {}, b"marker", 4), Delivery("", "q", {}, b"another", 5)]
    assert publish_and_read_back(broker, "q", 20, b"marker").offset == 7


def test_earlier_messages_are_acknowledged_so_that_more_arrive(broker: Any) -> None:
    broker.earlier = [Delivery("peatio.trade", "", {}, b"{}", number) for number in range(PREFETCH)]
    publish_and_read_back(broker, "q", 20)
    assert broker.acks == [PREFETCH + 1]


def test_a_queue_that_is_not_a_stream_is_refused_and_left_empty(broker: Any) -> None:
    broker.offset = None
    with pytest.raises(SourceRefused) as refused:
        publish_and_read_back(broker, "q", 20)
    assert refused.value.refusal is Refusal.NOT_A_STREAM
    assert broker.acks == [1], "the marker was left in the queue"


def test_alarm_of_the_broker_is_reported(broker: Any) -> None:
    broker.alarm = True
    with pytest.raises(BrokerAlarm):
        publish_and_read_back(broker, "q", 20)
    assert broker.closed == 1


def test_stream_that_is_being_created_is_tried_again(broker: Any) -> None:
    broker.errors = [NotFound("no leader"), PreconditionFailed("no replica")]
    assert publish_and_read_back(broker, "q", 20).offset == 7
    assert (broker.opened, broker.closed) == (3, 3)


def test_unavailable_stream_is_reported_within_the_time_limit(broker: Any) -> None:
    broker.errors = [NotFound("no leader")] * 1000
    with pytest.raises(SourceUnavailable) as unavailable:
        publish_and_read_back(broker, "q", 0.05)
    assert unavailable.value.answered


def test_patience_ends_before_the_time_limit(broker: Any) -> None:
    broker.errors = [PreconditionFailed("no replica")] * 1000
    with pytest.raises(SourceUnavailable) as unavailable:
        publish_and_read_back(broker, "q", 20, patience=0.05)
    assert unavailable.value.refusal is Refusal.NO_REPLICA


def test_missing_marker_is_reported_within_the_time_limit(broker: Any) -> None:
    broker.silent = True
    with pytest.raises(SourceUnavailable) as unavailable:
        publish_and_read_back(broker, "q", 0.02)
    assert not unavailable.value.answered
    assert (broker.opened, broker.closed) == (1, 1)


def test_lost_marker_is_published_again(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ 3.10 loses it if the stream has just got another leader."""
    monkeypatch.setattr(markers, "LOST_SECONDS", 0.01)
    broker.lost = 1
    assert publish_and_read_back(broker, "q", 20).offset == 7
    assert (broker.opened, broker.closed) == (2, 2), "the channel that lost it was used again"


# ---- publishers


@pytest.mark.parametrize("error", [NotFound("x"), InternalError("x"), MessageNacked()])
def test_stream_that_confirms_nothing_is_not_writable(broker: Any, error: Exception) -> None:
    assert is_writable(broker, "q", 20)
    broker.errors = [error]
    assert not is_writable(broker, "q", 20)
    broker.default_channel.basic_publish = lambda *_: gevent.sleep(30)
    assert not is_writable(broker, "q", 0.02)
    assert broker.opened == broker.closed == 3


@pytest.mark.parametrize(
    ("error", "refused"), [(None, False), (NotFound("x"), True), (ResourceError("x"), True), (InternalError("x"), True)]
)
def test_publishers_are_refused_if_the_broker_answers_with_an_error(
    broker: Any, error: Exception | None, refused: bool
) -> None:
    broker.errors = [error] if error else []
    assert is_refused_to_publishers(broker, "q", 20) is refused
    assert broker.options["heartbeat"] == 0
    assert broker.options["transport_options"] == {"confirm_publish": True}


def test_a_broker_that_does_not_answer_does_not_refuse_publishers(broker: Any) -> None:
    broker.default_channel.basic_publish = lambda *_: gevent.sleep(30)
    assert not is_refused_to_publishers(broker, "q", 0.02)
    assert broker.closed == 1


# ---- answers by their code


@pytest.mark.parametrize(
    ("error", "conflict", "refusal"),
    [
        (AccessRefused("x"), Refusal.NO_REPLICA, Refusal.NOT_ALLOWED),
        (AMQPNotImplementedError("x"), Refusal.NO_REPLICA, Refusal.NO_STREAMS),
        (PreconditionFailed("x"), Refusal.OTHER_ARGUMENTS, Refusal.OTHER_ARGUMENTS),
    ],
)
def test_refusal_is_recognized_by_its_code(error: Exception, conflict: Refusal, refusal: Refusal) -> None:
    with pytest.raises(SourceRefused) as refused, refusals_translated(conflict):
        raise error
    assert refused.value.refusal is refusal


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (NotFound("x"), Refusal.UNAVAILABLE),
        (ResourceError("x"), Refusal.UNAVAILABLE),
        (ResourceLocked("x"), Refusal.UNAVAILABLE),
        (InternalError("x"), Refusal.UNAVAILABLE),
        (PreconditionFailed("x"), Refusal.NO_REPLICA),
    ],
)
def test_stream_that_may_recover_is_unavailable(error: Exception, refusal: Refusal) -> None:
    with pytest.raises(SourceUnavailable) as unavailable, refusals_translated(Refusal.NO_REPLICA):
        raise error
    assert (unavailable.value.refusal, unavailable.value.answered) == (refusal, True)


def test_lost_connection_is_not_an_answer() -> None:
    with pytest.raises(ConnectionResetError), refusals_translated(Refusal.NO_REPLICA):
        raise ConnectionResetError
