"""Frames wait until the batch is flushed, then reach each client in order, even if the flush is interrupted."""

from __future__ import annotations

import pytest

from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.routing import batch as batch_module
from peatio_ws.routing.batch import AT_A_TIME, Batch
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, texts_in

MANY = 12 * AT_A_TIME + 4


class Clients:
    """A batch and the clients that it sends to."""

    def __init__(self, number: int) -> None:
        self.counters = WorkerCounters()
        self.batch = Batch(self.counters)
        self.wires = [Wire() for _ in range(number)]
        self.outboxes = [Outbox(wire, 2**30, 3600.0) for wire in self.wires]

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.batch.put(text_frame(b"%d" % number), self.outboxes)

    def received(self) -> list[list[int]]:
        return [texts_in(wire.taken) for wire in self.wires]

    @property
    def counted(self) -> int:
        return self.counters.count(metrics.frames).value


@pytest.fixture
def clients() -> Clients:
    return Clients(MANY)


def test_frames_are_sent_by_the_flush_and_in_order(clients: Clients) -> None:
    clients.put(1, 2)
    assert clients.received() == [[]] * MANY
    assert clients.batch.flush()
    assert clients.received() == [[1, 2]] * MANY
    assert clients.counted == 2 * MANY


def test_flush_returns_whether_there_were_frames(clients: Clients) -> None:
    assert not clients.batch.flush()
    clients.put(1)
    assert [clients.batch.flush(), clients.batch.flush()] == [True, False]


def test_frames_for_a_closed_connection_are_not_counted(clients: Clients) -> None:
    clients.outboxes[0].close(1000)
    clients.wires[0].taken = b""
    clients.put(1)
    clients.batch.flush()
    assert clients.received() == [[]] + [[1]] * (MANY - 1)
    assert clients.counted == MANY - 1


def test_several_frames_put_at_once_are_counted_as_such(clients: Clients) -> None:
    clients.batch.put(text_frame(b"1") + text_frame(b"2"), clients.outboxes[:2], count=2)
    clients.batch.count(3)
    assert clients.counted == 7


@pytest.mark.parametrize("numbers", [[1], [1, 2]])
def test_frames_sent_during_a_flush_come_after_the_batch(
    clients: Clients, numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def others(_: float) -> None:
        """Run in each pause of the flush: reply to every client, and in the first pause also flush another batch."""
        for outbox in clients.outboxes:
            outbox.send(text_frame(b"0"))
        pauses.append(0)
        if len(pauses) == 1:
            clients.put(9)
            clients.batch.flush()

    monkeypatch.setattr(batch_module, "BUSY_SECONDS", -1.0)
    monkeypatch.setattr(batch_module.gevent, "sleep", others)
    clients.put(*numbers)
    clients.batch.flush()
    assert pauses
    for received in clients.received():
        assert received[: len(numbers)] == numbers
        assert received.count(9) == 1


def test_an_interrupted_flush_leaves_the_rest_to_the_next(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_broker(_: float) -> None:
        raise ConnectionError("the broker connection is lost")

    monkeypatch.setattr(batch_module, "BUSY_SECONDS", -1.0)
    monkeypatch.setattr(batch_module.gevent, "sleep", lose_broker)
    clients.put(1)
    with pytest.raises(ConnectionError):
        clients.batch.flush()
    assert clients.received() == [[1]] * AT_A_TIME + [[]] * (MANY - AT_A_TIME)
    monkeypatch.undo()
    clients.put(2)
    clients.batch.flush()
    assert clients.received() == [[1, 2]] * MANY


def test_outboxes_that_take_frames_are_counted(clients: Clients) -> None:
    clients.outboxes[0].close(1000)
    clients.put(1)
    clients.batch.put(text_frame(b"2"), clients.outboxes[1:3], 5)
    assert clients.batch.taken == len(clients.outboxes) - 1 + 2
