"""When the greenlet that reads the broker lets others run, and what it makes a batch of."""

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
    """A loop whose time passes when the test says so; what it slept is kept."""

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
        """Read one after waiting so long, work on it so long; what was slept afterwards."""
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


def test_under_a_backlog_others_run_every_few_milliseconds(loop: Loop) -> None:
    since = 0.0
    for _ in range(100):
        since += 0.003
        if loop.batch(waited=0, took=0.003, drained=False):
            since = 0.0
        assert since <= BUSY_SECONDS + 0.003
    assert len(loop.slept) > 20
    assert max(loop.slept) < 0.001, "nothing is waited for while there is work"


def test_a_delivery_that_comes_alone_is_followed_by_no_pause(loop: Loop) -> None:
    for _ in range(10):
        assert loop.batch(waited=0.005, took=0.0002, drained=True) == []


def test_deliveries_that_come_close_together_are_not_waited_for(loop: Loop) -> None:
    for _ in range(10):
        assert loop.batch(waited=0.0002, took=0.0002, drained=True) == []


def test_another_broker_than_rabbitmq_has_no_transport_to_ask(loop: Loop) -> None:
    loop.pacing.pause(SimpleNamespace())
    loop.now += 1
    loop.pacing.pause(SimpleNamespace())
    assert len(loop.slept) == 1


# ---- batches, from a real socket


class Reading:
    """A consumer that reads a broker whose end of the connection the test has.

    Attributes:
        batches: the bodies delivered between one flush and the next.
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
        self.batches.append([told.delivery.body for told in self._line.handled])
        self._line.handled.clear()
        self.on_flush()
        return False


def delivered(body: bytes) -> bytes:
    """The frames of a delivery."""
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
    """Let the loop go round until something is so; the fixture has a time limit."""
    while not reached():
        gevent.sleep(1e-6)


def test_what_comes_while_a_batch_goes_out_is_the_next_batch(reading: Reading) -> None:
    more = [(b"two", b"three"), (b"four",)]

    def publish_more() -> None:
        if reading.batches[-1] and more:
            reading.publish(*more.pop(0))

    reading.on_flush = publish_more
    reading.publish(b"one")
    wait_for(lambda: [b"four"] in reading.batches)
    assert reading.batches == [[], [b"one"], [b"two", b"three"], [b"four"]]


def test_no_batch_is_held_back_by_a_timer(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """However close together deliveries come."""

    def sleep(_seconds: float) -> None:
        raise AssertionError("the reader sleeps")

    monkeypatch.setattr(read_pacing, "gevent", SimpleNamespace(sleep=sleep))
    reading.on_flush = lambda: reading.publish(b"more") if len(reading.batches) < 100 else None
    reading.publish(b"one")
    wait_for(lambda: len(reading.batches) >= 100 or reading.greenlet.ready())
    assert not reading.greenlet.ready()


class Client:
    """A greenlet that waits for a socket of its own, as clients' greenlets do.

    Attributes:
        waited: how many batches went out while it waited, each time.
    """

    def __init__(self, reading: Reading) -> None:
        self._near, self._far = gevent.socket.socketpair()
        self._reading, self._pinged_at = reading, -1
        self.waited: list[int] = []
        self._greenlet = gevent.spawn(self._wait)
        gevent.sleep(0)

    def ping(self) -> None:
        """Give it something to read, unless that is there already."""
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


def test_others_have_their_turn_under_a_steady_stream(reading: Reading) -> None:
    client = Client(reading)

    def publish_more() -> None:
        client.ping()
        if len(reading.batches) < 1000:  # else a reader that lets nobody run would never end
            reading.publish(b"more")

    reading.on_flush = publish_more
    reading.publish(b"one")
    wait_for(lambda: len(reading.batches) >= 1000)
    assert len(client.waited) >= 300
    assert max(client.waited) <= 2
    client.close()


def test_others_have_their_turn_under_a_backlog(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read takes all there is, and the time for others is always up."""
    monkeypatch.setattr(read_pacing, "BUSY_SECONDS", -1.0)
    client = Client(reading)
    reading.on_flush = client.ping
    published = gevent.spawn(reading.publish, *[b"x" * 1000] * 20_000)
    wait_for(published.ready)
    assert len(client.waited) >= 10
    assert max(client.waited) <= 2
    client.close()
