"""When the reader of the history stream knows that it has read everything, and how it resumes and reports gaps."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from peatio_ws.amqp.history_stream import markers
from peatio_ws.amqp.history_stream import source as room
from peatio_ws.amqp.history_stream.markers import BrokerAlarm
from peatio_ws.amqp.history_stream.offset import ReaderState
from peatio_ws.amqp.history_stream.setup import GIVE_UP_SECONDS, StreamSetup
from peatio_ws.amqp.history_stream.source import (
    ACK_EACH,
    ACK_SECONDS,
    IDLE_SECONDS,
    MARK_EACH,
    PROBE_SECONDS,
    QUIET_SECONDS,
    StreamSource,
)
from peatio_ws.amqp.source import Refusal, Reopen, SourceRefused, SourceUnavailable
from peatio_ws.protocol.exchanges import Delivery


class Broker:
    """A broker and a clock that the test controls.

    Attributes:
        fault: raised when a marker is published; None if the broker accepts it.
        writable: whether the stream accepts messages; a fault may concern this node only.
        markers: accepted markers that have not been delivered yet.
        acks: acknowledged delivery tags.
        happened: `current`, `gap`, and the offsets of handled events.
        starts: arguments with which reading began.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.fault: Exception | None = None
        self.writable = True
        self.markers: list[Delivery] = []
        self.acks: list[int] = []
        self.happened: list[Any] = []
        self.starts: list[Any] = []
        self._tag = self.offset = 0
        clock = SimpleNamespace(
            monotonic=lambda: self.now, clock_gettime=lambda _clock: self.now, CLOCK_BOOTTIME=time.CLOCK_BOOTTIME
        )
        monkeypatch.setattr(room, "time", clock)
        monkeypatch.setattr("peatio_ws.amqp.history_stream.setup.time", clock)
        monkeypatch.setattr("peatio_ws.amqp.history_stream.silence.time", clock)
        monkeypatch.setattr(room, "consume", lambda *_, arguments, **__: self.starts.append(arguments))
        monkeypatch.setattr(markers, "publish_and_read_back", lambda *_: self.publish_marker())
        monkeypatch.setattr(markers, "is_writable", lambda *_: self.writable)
        monkeypatch.setattr(StreamSetup, "_set_up", lambda *_: self.set_up())
        monkeypatch.setattr(StreamSetup, "_protect_publishers", lambda *_: None)
        self.stream = StreamSource("q", True, 120, self.handle, lambda: self.happened.append("gap"))
        self.line = SimpleNamespace(bytes_recv=1)
        self.open()

    def set_up(self) -> Delivery | None:
        try:
            return self.publish_marker()
        except BrokerAlarm:
            return None

    def publish_marker(self) -> Delivery:
        if self.fault is not None:
            raise self.fault
        self.offset += 1
        self.markers.append(Delivery("", "q", {}, b"marker %d" % self.offset, self.offset))
        return self.markers[-1]

    def handle(self, delivery: Delivery) -> None:
        if delivery.exchange:
            self.happened.append(delivery.offset)

    def open(self) -> None:
        channel = SimpleNamespace(
            basic_qos=lambda **_: None,
            basic_ack=lambda tag, multiple: self.acks.append(tag) if multiple else None,
        )
        connection: Any = SimpleNamespace(default_channel=channel, connection=self.line, clone=lambda: None)
        self.stream.open(connection, lambda: self.happened.append("current"))

    def reconnect(self) -> None:
        """Close the connection and open another one."""
        self.stream.closed(unreachable=False)
        self.markers.clear()
        self.open()

    def send(self, delivery: Delivery) -> Delivery:
        self._tag += 1
        self.line.bytes_recv += 1
        self.stream.on_delivery(delivery, self._tag)
        return delivery

    def deliver(self, body: bytes = b"{}") -> Delivery:
        """Deliver an event, after the markers that were published before it."""
        for one in self.markers:
            self.send(one)
        self.markers.clear()
        self.offset += 1
        return self.send(Delivery("peatio.orderbook", "", {}, body, self.offset))

    def deliver_markers(self) -> None:
        """Deliver the markers."""
        for one in self.markers:
            self.send(one)
        self.markers.clear()

    def after(self, seconds: float, heartbeat: bool = True) -> None:
        """Let time pass, then make the stream check its state."""
        self.now += seconds
        self.line.bytes_recv += heartbeat
        self.stream.check()
        gevent.sleep(0)
        gevent.sleep(0)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def test_source_is_current_once_its_marker_has_arrived(broker: Broker) -> None:
    assert not broker.happened
    assert broker.stream.state is ReaderState.READING_BACK
    broker.deliver_markers()
    assert broker.happened == ["current"]
    assert broker.stream.state is ReaderState.CURRENT
    broker.after(MARK_EACH * 2)
    assert broker.markers
    broker.deliver_markers()
    assert broker.happened == ["current"], "reported more than once for one connection"


def test_first_open_reads_back_and_later_ones_continue(broker: Broker) -> None:
    broker.deliver_markers()
    last = broker.deliver()
    broker.reconnect()
    assert broker.starts == [{"x-stream-offset": "141s"}, {"x-stream-offset": last.offset}]


def test_last_event_is_delivered_again_but_handled_once(broker: Broker) -> None:
    broker.deliver_markers()
    last = broker.deliver()
    broker.reconnect()
    assert broker.stream.state is ReaderState.PROVING
    broker.send(last)
    broker.deliver_markers()
    following = broker.deliver()
    assert broker.happened == ["current", last.offset, "current", following.offset]


@pytest.mark.parametrize(
    "other", [{"body": b"[]"}, {"routing_key": "x"}, {"headers": {"uid": "A"}}, {"exchange": "peatio.trade"}]
)
def test_other_event_at_the_last_offset_means_another_stream(broker: Broker, other: dict[str, Any]) -> None:
    """The stream was deleted, created again and has grown beyond the reader's offset."""
    broker.deliver_markers()
    last = broker.deliver()
    broker.reconnect()
    fields = {name: getattr(last, name) for name in ("exchange", "routing_key", "headers", "body", "offset")}
    broker.now += 5
    broker.send(Delivery(**(fields | other)))
    assert broker.stream.state is ReaderState.LOST
    assert broker.happened[-1] == "gap"
    broker.deliver()
    assert broker.happened[-1] == "gap", "an event was handled before the stream was opened again"
    with pytest.raises(Reopen):
        broker.stream.after_batch()
    broker.now += 10
    broker.reconnect()
    assert broker.starts[-1] == {"x-stream-offset": "18s"}, "it has to read everything published since the last event"


def test_stream_shorter_than_the_last_offset_is_another_stream(broker: Broker) -> None:
    broker.deliver_markers()
    broker.deliver()
    broker.offset = 0
    broker.reconnect()
    assert broker.happened[-1] == "gap"
    assert broker.stream.state is ReaderState.READING_BACK
    broker.deliver_markers()
    assert broker.happened[-1] == "current"


def test_events_removed_by_retention_are_a_gap(broker: Broker) -> None:
    broker.deliver_markers()
    broker.deliver()
    broker.offset += 5
    broker.reconnect()
    after = broker.deliver()
    assert broker.happened[-3:] == ["gap", "current", after.offset] or broker.happened[-2:] == ["gap", after.offset]
    assert broker.happened.index("gap") < broker.happened.index(after.offset)


def test_retention_ahead_of_a_slow_reader_is_a_gap(broker: Broker) -> None:
    """RabbitMQ skips removed events silently, within a connection."""
    first = broker.deliver()
    broker.happened.clear()
    broker.offset += 100
    later = broker.deliver()
    following = broker.deliver()
    assert later.offset != first.offset + 1  # type: ignore[operator]
    assert broker.happened == ["gap", later.offset, following.offset]


def test_offsets_of_rabbitmqs_own_records_are_no_gap(broker: Broker) -> None:
    """The first record of each stream segment is RabbitMQ's own."""
    broker.deliver()
    broker.happened.clear()
    broker.offset += 1
    broker.deliver()
    assert "gap" not in broker.happened


def test_lag_is_measured_with_markers(broker: Broker) -> None:
    assert broker.stream.lag() == 0
    broker.now += 3
    assert broker.stream.lag() == 3
    broker.deliver_markers()
    broker.now += 20
    assert broker.stream.lag() == 3, "the lag is that of the last marker"
    broker.after(MARK_EACH)
    broker.now += 1
    broker.deliver_markers()
    assert broker.stream.lag() == 1


def test_markers_are_published_under_load(broker: Broker) -> None:
    broker.deliver_markers()
    publish_marker = 0
    for _ in range(int(6 * MARK_EACH)):
        broker.deliver()
        broker.after(1)
        publish_marker += len(broker.markers)
        broker.deliver_markers()
    assert 4 <= publish_marker <= 7


def test_quiet_stream_gets_a_marker_from_any_worker(broker: Broker) -> None:
    broker.deliver_markers()
    for _ in range(5):
        broker.after(QUIET_SECONDS * 0.9)
        broker.offset += 1
        broker.send(Delivery("", "q", {}, b"another worker's marker", broker.offset))
    assert not broker.markers, "a marker was published although another worker's had arrived"
    broker.after(QUIET_SECONDS * 1.1)
    assert len(broker.markers) == 1


def test_marker_that_arrives_before_its_publisher_returns_counts(broker: Broker) -> None:
    broker.deliver_markers()
    asked = broker.now
    broker.now += PROBE_SECONDS * 2
    assert not broker.stream.has_read_up_to(asked)
    broker.offset += 1
    broker.send(Delivery("peatio.trade", "", {}, b"{}", broker.offset + 1))  # the marker is before this offset
    gevent.sleep(0)
    gevent.sleep(0)
    assert broker.stream.has_read_up_to(asked)


def test_question_is_answered_by_a_later_marker(broker: Broker) -> None:
    asked = broker.now
    assert not broker.stream.has_read_up_to(asked)
    broker.deliver_markers()
    assert not broker.stream.has_read_up_to(asked), "that marker may be older than the question"
    assert not broker.markers, "a marker was published too soon"
    broker.now += PROBE_SECONDS * 2
    for _ in range(5):
        assert not broker.stream.has_read_up_to(asked)
        gevent.sleep(0)
    assert len(broker.markers) == 1
    broker.deliver_markers()
    assert broker.stream.has_read_up_to(asked)


# ---- broker faults


def test_silence_during_an_alarm_means_that_all_was_read(broker: Broker) -> None:
    broker.fault = BrokerAlarm("no memory")
    broker.reconnect()
    broker.after(1)
    assert not broker.happened
    broker.after(IDLE_SECONDS + 1)
    assert broker.happened == ["current"]
    broker.fault = None
    broker.after(IDLE_SECONDS + 1)
    assert broker.markers, "no markers after the alarm"


def test_end_of_an_alarm_is_noticed_under_load(broker: Broker) -> None:
    broker.fault = BrokerAlarm("no memory")
    broker.reconnect()
    broker.fault = None
    for _ in range(int(IDLE_SECONDS) + 2):
        broker.after(1)
        broker.deliver()
    assert broker.happened.count("current") == 1


def test_failing_markers_are_tried_at_a_bounded_rate(broker: Broker) -> None:
    broker.deliver_markers()
    broker.fault = ConnectionResetError("no new connections")
    broker.now += MARK_EACH
    tries = 0
    for _ in range(100):
        before = broker.stream._tried_at
        broker.stream.has_read_up_to(broker.now)
        gevent.sleep(0)
        tries += broker.stream._tried_at > before
        broker.now += PROBE_SECONDS / 50
    assert tries <= 3


def test_silence_at_the_last_offset_in_an_alarm_means_another_stream(broker: Broker) -> None:
    broker.deliver_markers()
    broker.deliver()
    broker.fault = BrokerAlarm("no memory")
    broker.reconnect()
    with pytest.raises(Reopen):
        broker.after(IDLE_SECONDS + 1)
    assert broker.happened[-1] == "gap"


def test_stream_that_delivers_no_marker_is_opened_again(broker: Broker) -> None:
    broker.deliver_markers()
    broker.deliver()
    broker.after(MARK_EACH * 2)
    with pytest.raises(Reopen):
        broker.after(IDLE_SECONDS + 1)
    assert "gap" not in broker.happened


def leaves_within(broker: Broker, seconds: int) -> bool:
    """Return whether the reader, from which the broker withholds everything, gives up its connection in time."""
    try:
        for _ in range(seconds):
            broker.after(1, heartbeat=False)
    except (Reopen, SourceUnavailable):
        return True
    return False


@pytest.mark.parametrize("busy", [False, True])
def test_lost_replica_is_noticed_within_five_seconds(broker: Broker, busy: bool) -> None:
    """RabbitMQ 3.10 sends nothing more, and no error. It refuses new consumers."""
    broker.deliver_markers()
    if busy:
        broker.deliver()
    broker.fault = SourceUnavailable("no replica here", answered=True, refusal=Refusal.NO_REPLICA)
    assert leaves_within(broker, 5)
    assert "gap" not in broker.happened, "another node may still have everything"


def test_reader_that_receives_nothing_is_noticed_within_five_seconds(broker: Broker) -> None:
    """New consumers receive everything."""
    broker.deliver_markers()
    assert leaves_within(broker, 5)


def test_connection_after_two_dead_ones_is_not_taken_for_dead(broker: Broker) -> None:
    """On a quiet stream each connection receives the same number of deliveries: the last event, and a marker."""
    broker.deliver_markers()
    last = broker.deliver()
    for _ in range(3):
        broker.stream.closed(unreachable=False)
        broker.markers.clear()
        broker._tag = 0
        broker.open()
        broker.send(last)
        broker.deliver_markers()
        last = Delivery("", "q", {}, b"marker %d" % broker.offset, broker.offset)
        broker.after(0.9)
        assert leaves_within(broker, 5)


@pytest.mark.parametrize("refusal", [Refusal.UNAVAILABLE, Refusal.NO_REPLICA])
def test_stream_without_a_leader_is_no_reason_to_leave(broker: Broker, refusal: Refusal) -> None:
    """No node can deliver anything, so another one is no better. Meanwhile the replicas are restarted."""
    broker.deliver_markers()
    broker.fault = SourceUnavailable("no leader", answered=True, refusal=refusal)
    broker.writable = False
    assert not leaves_within(broker, int(GIVE_UP_SECONDS) - 1)


def test_refused_marker_is_no_reason_to_leave_while_events_arrive(broker: Broker) -> None:
    """Replicas restart while a leader is elected."""
    broker.deliver_markers()
    broker.fault = SourceUnavailable("no replica here", answered=True, refusal=Refusal.NO_REPLICA)
    broker.now += MARK_EACH * 2
    broker.stream.check()
    broker.deliver()
    gevent.sleep(0)
    broker.now += 0.5
    broker.stream.check()


def test_silence_of_a_frozen_broker_changes_nothing(broker: Broker) -> None:
    broker.line.bytes_recv = 0
    broker.stream._received_then = 0
    broker.after(100, heartbeat=False)
    broker.after(100, heartbeat=False)
    assert not broker.happened
    broker.deliver_markers()
    assert broker.happened == ["current"]


def test_marker_of_a_lost_connection_delays_nothing(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.deliver_markers()
    broker.deliver()
    monkeypatch.setattr(markers, "publish_and_read_back", lambda *_: gevent.sleep(3600))
    broker.after(MARK_EACH * 2)
    monkeypatch.setattr(markers, "publish_and_read_back", lambda *_: broker.publish_marker())
    broker.reconnect()
    with pytest.raises(Reopen):
        broker.after(IDLE_SECONDS + 1)


def test_failed_marker_is_published_again(broker: Broker) -> None:
    broker.deliver_markers()
    broker.fault = ConnectionResetError("gone")
    broker.after(MARK_EACH * 2)
    broker.after(1)
    assert not broker.markers
    broker.fault = None
    broker.after(1)
    assert broker.markers


def test_refusal_while_reading_ends_the_source(broker: Broker) -> None:
    broker.deliver_markers()
    broker.fault = SourceRefused(Refusal.NOT_ALLOWED)
    broker.after(MARK_EACH * 2)
    with pytest.raises(SourceRefused) as refused:
        broker.after(1)
    assert refused.value.refusal is Refusal.NOT_ALLOWED


def test_stream_that_is_unavailable_for_long_is_refused(broker: Broker) -> None:
    """Only times in which the broker answers count."""
    broker.deliver_markers()
    broker.fault = SourceUnavailable("no leader", answered=True)
    for _ in range(3):
        with pytest.raises(SourceUnavailable):
            broker.reconnect()
        broker.now += GIVE_UP_SECONDS
        broker.stream.closed(unreachable=True)
    with pytest.raises(SourceUnavailable):
        broker.reconnect()
    broker.now += GIVE_UP_SECONDS
    with pytest.raises(SourceRefused) as refused:
        broker.reconnect()
    assert refused.value.refusal is Refusal.UNAVAILABLE
    broker.fault = None
    broker.reconnect()
    assert broker.stream.state is not ReaderState.CLOSED


def test_stream_without_markers_is_read_while_events_arrive(broker: Broker) -> None:
    broker.deliver_markers()
    broker.fault = SourceUnavailable("no leader", answered=True)
    for _ in range(10):
        broker.after(GIVE_UP_SECONDS / 2)
        broker.deliver()
    for _ in range(int(GIVE_UP_SECONDS)):
        broker.after(1)
    with pytest.raises(SourceRefused):
        broker.after(1)


def test_restored_stream_continues_from_its_last_marker(broker: Broker) -> None:
    broker.stream.closed(unreachable=False)
    broker.stream.prepare(None)  # type: ignore[arg-type]
    (last,) = broker.markers[-1:]
    broker.reconnect()
    assert broker.starts[-1] == {"x-stream-offset": last.offset}
    broker.send(last)
    assert broker.stream.state is ReaderState.READING_BACK


def test_stream_continues_from_the_time_until_which_another_source_was_read(broker: Broker) -> None:
    broker.deliver()
    broker.stream.closed(unreachable=False)
    broker.now += 600
    broker.stream.skip(30)
    broker.open()
    assert broker.starts[-1] == {"x-stream-offset": "33s"}
    event = broker.deliver()
    assert broker.happened[-2:] == ["current", event.offset]


def test_deliveries_are_acknowledged_in_time(broker: Broker) -> None:
    broker.deliver_markers()
    for _ in range(ACK_EACH - 1):
        assert not broker.acks
        broker.deliver()
        broker.stream.after_batch()
    assert broker.acks == [ACK_EACH]
    broker.deliver()
    broker.stream.after_batch()
    broker.now += ACK_SECONDS + 1
    broker.stream.after_batch()
    broker.now += ACK_SECONDS + 1
    broker.stream.after_batch()
    assert broker.acks == [ACK_EACH, ACK_EACH + 1]


def test_after_a_closed_connection_nothing_is_acknowledged(broker: Broker) -> None:
    """The channel belongs to a closed source."""
    broker.deliver_markers()
    for _ in range(ACK_EACH + 1):
        broker.deliver()
    broker.stream.closed(unreachable=False)
    assert broker.stream.state is ReaderState.CLOSED
    broker.stream.check()
    assert not broker.acks
