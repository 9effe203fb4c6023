"""Private deliveries of one worker: history, gap notices, and events from two sources."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.event
import pytest

from peatio_ws.amqp.history_stream.setup import GAP
from peatio_ws.amqp.source import Refusal, SourceRefused
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing.history import STREAM
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server import private_ingest
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, cursors, on_orderbook, settings, texts_in

REFUSED = SourceRefused(Refusal.TOO_OLD)


class Worker:
    """The ingest of a worker without a broker, and a client that resumes."""

    def __init__(self, **environ: str) -> None:
        self.counters = WorkerCounters()
        self.ingest = BrokerIngest(settings(**environ), SharedState(Revocations(0), Lockout(0)), self.counters)
        self.wire = Wire()
        self.receiver = Receiver(Outbox(self.wire, 2**20, 10.0), Dialect.CLASSIC)
        self.receiver.admit("IDANN")
        self.receiver.resumes = True
        self.ingest.router.go_live(self.receiver)

    def read_back(self) -> None:
        self.ingest.on_broker("private", True)

    def deliver(self, number: int, offset: int | None) -> None:
        delivery = on_orderbook({"id": number}, uid="IDANN")
        self.ingest.private.on_delivery(Delivery(delivery.exchange, "", delivery.headers, delivery.body, offset))

    def deliver_marker(self, body: bytes, offset: int, name: str = "1") -> None:
        self.ingest.private.on_delivery(Delivery("", "q", {"id": name}, body, offset))

    def received(self) -> list[Any]:
        """Return what the client received since the last call: the number of each order, and `complete` of each resume
        frame."""
        self.ingest.router.batch.flush()
        frames, self.wire.taken = texts_in(self.wire.taken), b""
        return [frame["orderbook"]["id"] if "orderbook" in frame else frame["resume"]["complete"] for frame in frames]


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of private deliveries: it shows `now`, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(private_ingest, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_events_read_back_are_kept_and_not_sent(worker: Worker) -> None:
    worker.deliver(1, 10)
    assert worker.received() == []
    worker.read_back()
    worker.deliver(2, 11)
    assert worker.received() == [2]
    assert [json.loads(entry.delivery.body)["id"] for entry in worker.ingest.history.after(["IDANN"], -1)] == [1, 2]


def test_gap_notice_is_sent_once_and_before_the_next_event(worker: Worker) -> None:
    worker.read_back()
    worker.deliver(1, 10)
    worker.deliver_marker(GAP, 11)
    worker.deliver(2, 12)
    worker.deliver(3, 13)
    assert worker.received() == [1, False, 2, 3]
    assert [entry.offset for entry in worker.ingest.history.after(["IDANN"], -1)] == [12, 13]


def test_cursor_at_a_gap_is_not_valid_in_another_stream(worker: Worker) -> None:
    """Streams begin alike: a marker or two of each worker, then GAP messages."""
    history, cursors = worker.ingest.history, worker.ingest.cursors
    worker.read_back()
    worker.deliver_marker(GAP, 1, "first")
    position = cursors.open(cursors.at("IDANN"), "IDANN")
    assert position is not None
    assert history.holds(position)
    worker.deliver(1, 2)  # the client has disconnected, and then the broker loses its disk
    worker.ingest.private.on_gap()
    worker.deliver_marker(GAP, 1, "second")
    assert not history.holds(position)


def test_gap_found_while_reading_is_announced_with_the_next_event(worker: Worker) -> None:
    worker.read_back()
    worker.deliver(1, 10)
    worker.ingest.private.on_gap()
    assert worker.received() == [1], "the notice was sent before the next event"
    worker.deliver(2, 3)
    assert worker.received() == [False, 2]
    worker.ingest.private.on_gap()
    worker.read_back()
    assert worker.received() == [False], "the notice was not sent although no further event is expected"


@pytest.mark.parametrize("marker", [False, True])
def test_event_after_a_gap_is_not_lost_if_the_connection_ends(
    worker: Worker, marker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice for thousands of clients takes so long that the flush lets other greenlets run."""
    worker.read_back()
    worker.ingest.private.on_gap()
    batch, flushing = worker.ingest.router.batch, gevent.event.Event()

    def flush() -> bool:
        flushing.set()
        gevent.sleep(3600)
        raise AssertionError

    def read() -> None:
        if marker:
            worker.deliver_marker(b"", 10)
        worker.deliver(1, 11)
        batch.flush()

    monkeypatch.setattr(batch, "flush", flush)
    reader = gevent.spawn(read)
    assert flushing.wait(30)
    gevent.kill(reader, ConnectionError("no heartbeat"))
    gevent.idle()
    monkeypatch.undo()
    reader.kill()
    assert worker.received() == [False, 1]
    assert [entry.offset for entry in worker.ingest.history.after(["IDANN"], -1)] == [11]


def test_repeated_event_is_dropped(worker: Worker) -> None:
    worker.read_back()
    worker.deliver(1, 10)
    worker.deliver(1, 10)
    assert worker.received() == [1]
    assert worker.counters.count(metrics.deliveries, "peatio.orderbook", "again").value == 1


def test_refused_stream_starts_another_history_and_is_announced(worker: Worker) -> None:
    worker.read_back()
    worker.deliver(1, 10)
    worker.ingest.private.on_source(REFUSED)
    own = worker.ingest.history.name
    assert own != STREAM
    worker.read_back()
    assert worker.received() == [1, False]
    worker.deliver(2, None)
    assert worker.received() == [2]


def test_events_from_the_queue_are_not_repeated_from_the_stream(worker: Worker) -> None:
    worker.ingest.private.on_source(REFUSED)
    worker.read_back()
    assert worker.received() == [False]
    worker.deliver(1, None)
    worker.ingest.private.on_trial(True)
    worker.deliver(2, None)
    worker.deliver(3, None)
    worker.ingest.private.on_source(None)
    for number, offset in ((2, 5), (3, 6), (4, 7)):
        worker.deliver(number, offset)
    worker.read_back()
    worker.deliver(3, 8)
    assert [one for one in worker.received() if one is not False] == [1, 2, 3, 4, 3], (
        "an event after the read-back was dropped"
    )
    assert worker.ingest.history.name == STREAM
    assert [entry.offset for entry in worker.ingest.history.after(["IDANN"], -1)] == [5, 6, 7, 8]


@pytest.mark.usefixtures("clock")
def test_last_events_of_a_lost_queue_are_not_repeated_from_the_stream(worker: Worker) -> None:
    """Without a trial, the stream is read from shortly before the queue was lost."""
    worker.ingest.private.on_source(REFUSED)
    worker.read_back()
    for number in (1, 2, 2):
        worker.deliver(number, None)
    worker.ingest.on_broker("private", False)
    worker.ingest.private.on_source(None)
    for number, offset in ((2, 5), (2, 6), (3, 7), (2, 8)):
        worker.deliver(number, offset)
    worker.read_back()
    worker.deliver(1, 9)
    assert [one for one in worker.received() if one is not False] == [1, 2, 2, 3, 2, 1]
    assert [entry.offset for entry in worker.ingest.history.after(["IDANN"], -1)] == [5, 6, 7, 8, 9]


@pytest.mark.usefixtures("clock")
def test_last_events_of_a_queue_that_was_lost_twice_are_not_repeated(worker: Worker) -> None:
    worker.ingest.private.on_source(REFUSED)
    worker.read_back()
    worker.deliver(1, None)
    worker.ingest.on_broker("private", False)
    worker.ingest.on_broker("private", False)  # it was opened meanwhile, but not read
    worker.read_back()
    worker.deliver(2, None)
    worker.ingest.on_broker("private", False)
    worker.ingest.private.on_source(None)
    for number, offset in ((1, 5), (2, 6), (1, 7), (3, 8)):
        worker.deliver(number, offset)
    assert [one for one in worker.received() if one is not False] == [1, 2, 1, 3]


def test_event_from_long_before_a_queue_was_lost_is_no_repetition(worker: Worker, clock: SimpleNamespace) -> None:
    """A state may return to what it was: the same body is then another event."""
    worker.ingest.private.on_source(REFUSED)
    worker.read_back()
    worker.deliver(1, None)
    clock.now += private_ingest.OVERLAP_SECONDS + 1
    worker.ingest.on_broker("private", False)
    clock.now += 20
    worker.ingest.private.on_source(None)
    for number, offset in ((2, 5), (1, 6)):
        worker.deliver(number, offset)
    assert [one for one in worker.received() if one is not False] == [1, 2, 1]


def test_failed_trial_leaves_no_remembered_events(worker: Worker) -> None:
    worker.ingest.private.on_source(REFUSED)
    worker.read_back()
    worker.ingest.private.on_trial(True)
    worker.deliver(1, None)
    worker.ingest.private.on_trial(False)
    assert worker.ingest.private._from_queue is None


def test_without_history_nothing_is_kept() -> None:
    worker = Worker(AMQP_HISTORY="off")
    worker.read_back()
    worker.deliver(1, None)
    assert worker.received() == [1]
    assert not len(worker.ingest.history)


def test_unreadable_delivery_is_counted_only_when_live(worker: Worker) -> None:
    bad = Delivery("peatio.orderbook", "", {}, b"no json", 3)
    worker.ingest.private.on_delivery(bad)
    dropped = worker.counters.count(metrics.deliveries, "peatio.orderbook", "json")
    assert dropped.value == 0, "an event that was read back was counted"
    worker.read_back()
    worker.ingest.private.on_delivery(bad)
    assert dropped.value == 1


def test_the_key_of_cursors_comes_from_markers_of_the_stream_only(worker: Worker) -> None:
    own, others = worker.ingest.private.marker_headers(), cursors().announce(0.0)
    for exchange, offset in (("peatio.orderbook", 10), ("peatio.events.ranger", 11), ("", None)):
        worker.ingest.private.on_delivery(Delivery(exchange, "private.A.x", others, b"{}", offset))
    assert worker.ingest.private.marker_headers() == own
    worker.ingest.private.on_delivery(Delivery("", "q", others, b"marker", 12))
    assert worker.ingest.private.marker_headers() == others
    worker.ingest.private.on_delivery(Delivery("", "q", {}, b"of an older gateway", 13))
    assert worker.ingest.private.marker_headers() == others
    worker.ingest.private.on_source(REFUSED)
    assert worker.ingest.private.marker_headers() not in (own, others), (
        "the worker's own history has to use another key"
    )


def test_gap_notice_has_a_cursor_for_each_member(worker: Worker) -> None:
    worker.read_back()
    bob_wire = Wire()
    bob = Receiver(Outbox(bob_wire, 2**20, 10.0), Dialect.CLASSIC)
    bob.admit("IDBOB")
    bob.resumes = True
    worker.ingest.router.go_live(bob)
    worker.deliver_marker(GAP, 10)
    worker.ingest.router.batch.flush()
    for wire, uid, other in ((worker.wire, "IDANN", "IDBOB"), (bob_wire, "IDBOB", "IDANN")):
        (frame,) = texts_in(wire.taken)
        cursor = frame["resume"]["cursor"]
        assert worker.ingest.cursors.open(cursor, uid) == worker.ingest.history.position()
        assert worker.ingest.cursors.open(cursor, other) is None
