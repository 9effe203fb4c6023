"""When the broker's reader lets other greenlets run, and which deliveries form a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import gevent
import gevent.socket
import pytest

from peatio_ws.amqp import read_pacing
from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.read_pacing import BUSY_SECONDS, ReadPacing
from peatio_ws.protocol.exchanges import Delivery
from tests.unit.amqp.test_frame_reader import Handled, Line, frames_of

LIMIT = 30.0


class Loop:
    """An event loop with a clock that the test moves. It records how long the reader sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, list[float]()
        monkeypatch.setattr(read_pacing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(read_pacing.gevent, "sleep", self.sleep)
        self.transport = SimpleNamespace(rested=0.0, drained=True)
        self.pacing = ReadPacing()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def batch(self, waited: float, took: float, drained: bool) -> list[float]:
        """Wait this long for a batch, then work on it this long. Return how long the reader slept afterwards."""
        if waited:
            self.now += waited
            self.transport.rested = self.now
        self.now += took
        self.transport.drained = drained
        before = len(self.slept)
        self.pacing.pause(SimpleNamespace(transport=self.transport))
        return self.slept[before:]


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(monkeypatch)


def test_backlog_lets_others_run_every_few_milliseconds(loop: Loop) -> None:
    since = 0.0
    for _ in range(100):
        since += 0.003
        if loop.batch(waited=0, took=0.003, drained=False):
            since = 0.0
        assert since <= BUSY_SECONDS + 0.003
    assert len(loop.slept) > 20
    assert max(loop.slept) < 0.001, "the reader waited although there was work"


def test_single_delivery_is_followed_by_no_pause(loop: Loop) -> None:
    for _ in range(10):
        assert loop.batch(waited=0.005, took=0.0002, drained=True) == []


def test_reader_does_not_wait_for_further_deliveries(loop: Loop) -> None:
    for _ in range(10):
        assert loop.batch(waited=0.0002, took=0.0002, drained=True) == []


def test_broker_without_transport_is_paced_by_time(loop: Loop) -> None:
    loop.pacing.pause(SimpleNamespace())
    loop.now += 1
    loop.pacing.pause(SimpleNamespace())
    assert len(loop.slept) == 1


# ---- batches, from a real socket


class Reading:
    """A consumer that reads from a socket whose other end belongs to the test.

    Attributes:
        batches: bodies delivered between two flushes.
        on_flush: called at the end of each batch.
    """

    def __init__(self) -> None:
        self.near, self.far = gevent.socket.socketpair()
        self.batches: list[list[bytes]] = []
        self.on_flush: Callable[[], object] = lambda: None
        self._line = Line().consume_queue(1, "plain")
        self._line.amqp.transport.sock = self.near
        source = SimpleNamespace(after_batch=lambda: None)
        self._consumer = Consumer(
            SimpleNamespace(current=source),  # type: ignore[arg-type]
            (),
            self._flush,
            lambda _is_read: None,
            lambda _seconds: None,
        )
        self.greenlet = gevent.spawn(
            self._consumer._drain, SimpleNamespace(connection=self._line.amqp, heartbeat=0), "amqp://localhost"
        )

    def publish(self, *bodies: bytes) -> None:
        self.far.sendall(b"".join(delivered(body) for body in bodies))

    def _flush(self) -> bool:
        self.batches.append([one.delivery.body for one in self._line.handled])
        self._line.handled.clear()
        self.on_flush()
        return False


def delivered(body: bytes) -> bytes:
    """Return the frames of a delivery."""
    return b"".join(frames_of(1, Handled("plain", Delivery("x", "a.b", {}, body), None)))


@pytest.fixture
def reading() -> Iterator[Reading]:
    made = Reading()
    gevent.sleep(0)
    with gevent.Timeout(LIMIT):
        yield made
    made.greenlet.kill()
    made._line.amqp.transport.close()
    made.far.close()


def wait_for(reached: Callable[[], bool]) -> None:
    """Run the event loop until the condition holds. The fixture has a time limit."""
    while not reached():
        gevent.sleep(1e-6)


def test_deliveries_that_arrive_during_a_flush_form_the_next_batch(reading: Reading) -> None:
    more = [(b"two", b"three"), (b"four",)]

    def publish_more() -> None:
        if reading.batches[-1] and more:
            reading.publish(*more.pop(0))

    reading.on_flush = publish_more
    reading.publish(b"one")
    wait_for(lambda: [b"four"] in reading.batches)
    assert reading.batches == [[], [b"one"], [b"two", b"three"], [b"four"]]


def test_reader_never_sleeps_to_collect_a_batch(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries follow each other without a pause."""

    def sleep(_seconds: float) -> None:
        raise AssertionError("the reader sleeps")

    monkeypatch.setattr(read_pacing, "gevent", SimpleNamespace(sleep=sleep))
    reading.on_flush = lambda: reading.publish(b"more") if len(reading.batches) < 100 else None
    reading.publish(b"one")
    wait_for(lambda: len(reading.batches) >= 100 or reading.greenlet.ready())
    assert not reading.greenlet.ready()


class Client:
    """A greenlet that waits for its own socket, like a client's greenlet.

    Attributes:
        waited: number of batches that were sent during each wait.
    """

    def __init__(self, reading: Reading) -> None:
        self._near, self._far = gevent.socket.socketpair()
        self._reading, self._pinged_at = reading, -1
        self.waited: list[int] = []
        self._greenlet = gevent.spawn(self._wait)
        gevent.sleep(0)

    def ping(self) -> None:
        """Send it something to read, unless it has something to read already."""
        if self._pinged_at < 0:
            self._pinged_at = len(self._reading.batches)
            self._near._sock.send(b"ping")

    def _wait(self) -> None:
        while self._far.recv(10):
            self.waited.append(len(self._reading.batches) - self._pinged_at)
            self._pinged_at = -1

    def close(self) -> None:
        self._greenlet.kill()
        self._near.close()
        self._far.close()


def test_steady_stream_lets_clients_run(reading: Reading) -> None:
    client = Client(reading)

    def publish_more() -> None:
        client.ping()
        if len(reading.batches) < 1000:  # otherwise a reader that never yields would not end
            reading.publish(b"more")

    reading.on_flush = publish_more
    reading.publish(b"one")
    wait_for(lambda: len(reading.batches) >= 1000)
    assert len(client.waited) >= 300
    assert max(client.waited) <= 2
    client.close()


def test_backlog_lets_clients_run(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read drains the socket, and the reader's time slice is always over."""
    monkeypatch.setattr(read_pacing, "BUSY_SECONDS", -1.0)
    client = Client(reading)
    reading.on_flush = client.ping
    published = gevent.spawn(reading.publish, *[b"x" * 1000] * 20_000)
    wait_for(published.ready)
    assert len(client.waited) >= 10
    assert max(client.waited) <= 2
    client.close()
