"""When the reader of the history stream knows that everything has come, and what it does while it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from amqp.exceptions import NotFound, ResourceError

from peatio_ws import history_stream
from peatio_ws.events import Delivery
from peatio_ws.history_stream import (
    ACK_EACH,
    ACK_SECONDS,
    GAP,
    IDLE_SECONDS,
    MARK_EACH,
    MARK_SECONDS,
    PROBE_SECONDS,
    HistoryStream,
)


class Broker:
    """A broker and a clock in the test's hand.

    Attributes:
        answer: what it does with a marker: takes it (None) or raises; `connects` if not even that.
        markers: that it took.
        acks: delivery tags acknowledged.
        happened: `heard`, and `anew`.
        declared: exchanges.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, durable: bool = True, answers: Iterable[Exception] = ()
    ) -> None:
        self.now = 1000.0
        self.markers: list[bytes] = []
        self.acks: list[int] = []
        self.happened: list[str] = []
        self.declared: list[str] = []
        self.answer: Exception | None = None
        self._first_answers = list(answers)
        self.connects = True
        self._tag = self.offset = 0
        monkeypatch.setattr(history_stream.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(history_stream, "declare", lambda *_: None)
        monkeypatch.setattr(history_stream, "consume", lambda *_, **__: None)
        monkeypatch.setattr(history_stream, "Queue", lambda *_, **__: None)
        self.stream = HistoryStream(
            "q", durable, 120, lambda _delivery: None, lambda _streamed: self.happened.append("anew")
        )
        self.line = SimpleNamespace(bytes_recv=1)
        self.open()

    def open(self) -> None:
        def passive_declare(name: str, _kind: str, passive: bool) -> None:
            if not passive or name not in self.declared:
                raise NotFound

        channel = SimpleNamespace(
            basic_qos=lambda **_: None,
            basic_ack=lambda tag, multiple: self.acks.append(tag) if multiple else None,
            exchange_declare=lambda name, _kind, **_: self.declared.append(name),
        )
        connection: Any = SimpleNamespace(
            default_channel=channel,
            connection=self.line,
            transport_options={},
            clone=lambda **_: self.another(),
            channel=lambda: contextlib.nullcontext(SimpleNamespace(exchange_declare=passive_declare)),
        )
        self.stream.open(connection, lambda: self.happened.append("heard"))
        self.now += MARK_SECONDS if self.answer else 0  # it takes so long to know
        gevent.sleep(0.001)

    def another(self) -> Any:
        def connect() -> None:
            if not self.connects:
                raise ConnectionError("gone")

        def publish(marker: bytes, **_: Any) -> None:
            if self._first_answers:
                raise self._first_answers.pop(0)
            if self.answer is not None:
                raise self.answer
            self.markers.append(marker)

        return SimpleNamespace(
            connect=connect,
            Producer=lambda: SimpleNamespace(publish=publish),
            close=lambda: None,
            collect=lambda: None,
        )

    def deliver(self, body: bytes = b"{}", exchange: str = "peatio.orderbook") -> None:
        self._tag += 1
        self.offset += 1
        self.line.bytes_recv += 1
        self.stream._on_delivery(Delivery(exchange, "", {}, body, self.offset), self._tag)

    def come(self) -> None:
        """The last marker comes."""
        self.deliver(self.markers[-1], "")

    def after(self, seconds: float, heartbeat: bool = True) -> None:
        """Let time pass, and the stream look at the clock."""
        self.now += seconds
        self.line.bytes_recv += heartbeat
        self.stream.check()
        gevent.sleep(0.001)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def test_it_is_heard_once_the_marker_has_come(broker: Broker) -> None:
    broker.deliver()
    assert not broker.happened
    broker.come()
    assert broker.happened == ["heard"]
    broker.after(MARK_EACH * 2)
    broker.come()
    assert broker.happened == ["heard"], "a marker of a quiet hour says nothing new"


def test_how_far_behind_reading_is_can_be_asked_while_a_marker_is_awaited_and_afterwards(broker: Broker) -> None:
    assert broker.stream.lag() == 0
    broker.now += 3
    assert broker.stream.lag() == 3
    broker.come()
    broker.now += 20
    assert broker.stream.lag() == 3, "of the last one"
    broker.after(MARK_EACH)
    broker.now += 1
    broker.come()
    assert broker.stream.lag() == 1


def test_markers_come_under_load_too(broker: Broker) -> None:
    broker.come()
    for _ in range(int(4 * MARK_EACH)):
        broker.deliver()
        broker.after(1)
        if broker.stream._marker:
            broker.come()
    assert 3 <= len(broker.markers) <= 5


@pytest.mark.parametrize("connects", [True, False])
def test_a_marker_that_did_not_get_there_is_sent_again_though_others_come(
    monkeypatch: pytest.MonkeyPatch, connects: bool
) -> None:
    broker = Broker(monkeypatch)
    broker.come()
    broker.connects, broker.answer = connects, NotFound("not yet")
    broker.open()
    for _ in range(10):
        broker.deliver()
        broker.after(2)
    assert len(broker.markers) == 1
    broker.connects, broker.answer = True, None
    broker.deliver()
    broker.after(2)
    broker.come()
    assert broker.happened == ["heard", "heard"]


def test_a_broker_that_takes_nothing_and_brings_nothing_has_brought_everything(broker: Broker) -> None:
    broker.answer = TimeoutError("an alarm")
    broker.open()
    broker.after(1)
    assert not broker.happened
    broker.after(IDLE_SECONDS + 1)
    assert broker.happened == ["heard"]


def test_a_stream_in_which_the_marker_never_comes_is_read_anew(broker: Broker) -> None:
    broker.deliver()
    with pytest.raises(ConnectionError):
        broker.after(IDLE_SECONDS + 1)
    assert broker.happened == ["anew"]


def test_the_silence_of_a_frozen_broker_says_nothing(broker: Broker) -> None:
    broker.after(100, heartbeat=False)
    broker.after(100, heartbeat=False)
    assert not broker.happened
    broker.come()
    assert broker.happened == ["heard"]


def test_whoever_asks_is_told_by_a_marker_that_was_sent_afterwards(broker: Broker) -> None:
    asked = broker.now
    assert not broker.stream.has_read_up_to(asked)
    broker.come()
    assert not broker.stream.has_read_up_to(asked), "that marker may be older than what is asked for"
    assert len(broker.markers) == 1, "not in such haste"
    broker.now += PROBE_SECONDS * 2
    for _ in range(5):
        assert not broker.stream.has_read_up_to(asked)
        gevent.sleep(0.001)
    assert len(broker.markers) == 2
    broker.come()
    assert broker.stream.has_read_up_to(asked)


def test_a_stream_that_another_worker_is_just_making_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_stream, "BIRTH_STEP", 0.001)
    broker = Broker(monkeypatch, durable=False, answers=[ResourceError("no stream"), ResourceError("no stream")])
    assert broker.markers[0] == GAP
    assert broker.declared == ["q.bound"]
    broker.come()
    broker.open()
    assert broker.markers.count(GAP) == 1, "nothing was lost since"


def test_what_else_is_refused_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionError, match="an alarm"):
        Broker(monkeypatch, durable=False, answers=[TimeoutError("an alarm")])


def test_what_is_owed_is_acknowledged_in_time(broker: Broker) -> None:
    for _ in range(ACK_EACH):
        assert not broker.acks
        broker.deliver()
        broker.stream.rest()
    assert broker.acks == [ACK_EACH]
    broker.deliver()
    broker.stream.rest()
    broker.now += ACK_SECONDS + 1
    broker.stream.rest()
    broker.now += ACK_SECONDS + 1
    broker.stream.rest()
    assert broker.acks == [ACK_EACH, ACK_EACH + 1]
