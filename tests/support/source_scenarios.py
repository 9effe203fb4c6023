"""Scenarios for every source of broker events, and further ones for the stream, against a real broker.

    python -m tests.support.source_scenarios KIND SCENARIO URL
    python -m tests.support.source_scenarios                      # lists kinds and scenarios

`tests/live/test_sources.py` runs each scenario in a process with gevent's patches, like a worker's. The status is 0, or
there is a traceback.
"""

# ruff: noqa: E402

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import contextlib
import itertools
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import gevent
import gevent.event
from kombu import Connection

from peatio_ws.amqp import consumer as consumer_module
from peatio_ws.amqp import queue_source
from peatio_ws.amqp.connection import open_connection
from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.history_stream import setup as history_stream_setup
from peatio_ws.amqp.history_stream.source import StreamSource
from peatio_ws.amqp.queue_source import QueueSource
from peatio_ws.amqp.source import Source, SourceRefused, Sources
from peatio_ws.amqp.topology import PRIVATE
from peatio_ws.protocol.exchanges import EXCHANGES, ORDERBOOK, RANGER, TRADE, Delivery

WAIT = 30.0
LONG, BACKLOG = 50_000, 40_000_000
"""Bytes of a message, and of all that a worker does not read: more than sockets hold."""


def until(check: Callable[[], Any], what: str, seconds: float = WAIT) -> None:
    """Wait until `check` is true. Raises AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        gevent.sleep(0.01)


class Worker:
    """A consumer with its source, like a worker's, and what they did.

    Attributes:
        got: deliveries with an exchange, as they arrived.
        happened: `connected`, `lost`, `gap`, `refused`, `restored`, in order.
        may_read: cleared while the worker is held up.
    """

    def __init__(self, kind: str, url: str, queue: str) -> None:
        self.kind, self.got, self.happened = kind, list[Delivery](), list[str]()
        self.may_read = gevent.event.Event()
        self.may_read.set()
        self.refused: SourceRefused | None = None
        own = QueueSource("private", False, PRIVATE, self._take)
        preferred: Source = own
        instead: Source | None = None
        if kind == "stream":
            preferred = StreamSource(queue, False, 60, self._take, lambda: self.happened.append("gap"))
            instead = own
        self.source = preferred
        self.sources = Sources(preferred, instead, self)
        self.consumer = Consumer(self.sources, (url,), lambda: False, self._on_status, lambda _seconds: None)
        self.reader = gevent.spawn(self.consumer.run)

    def on_source(self, refused: SourceRefused | None) -> None:
        self.refused = refused
        self.happened.append("restored" if refused is None else "refused")

    def on_trial(self, running: bool) -> None:
        pass

    def _on_status(self, connected: bool) -> None:
        self.happened.append("connected" if connected else "lost")

    def _take(self, delivery: Delivery) -> None:
        self.may_read.wait()
        if delivery.exchange:
            self.got.append(delivery)

    @property
    def is_connected(self) -> bool:
        states = [one for one in self.happened if one in ("connected", "lost")]
        return states[-1:] == ["connected"]

    @contextlib.contextmanager
    def reconnected(self) -> Iterator[None]:
        """Run the block, in which the source is lost, and wait until it is read again."""
        before = len(self.happened)
        yield
        until(lambda: "lost" in self.happened[before:] and self.is_connected, "it is read again")

    def cut(self) -> None:
        """Break the connection as a network would."""
        self.reader.kill(ConnectionResetError("cut by the test"), block=False)
        until(lambda: not self.is_connected, "the loss is noticed")

    def numbers(self) -> list[int]:
        return [json.loads(one.body)["id"] for one in self.got]

    def end(self) -> None:
        self.consumer.stop()
        self.reader.kill(ConnectionError("over"), timeout=10)


class Exchange:
    """Publishes numbered events as Peatio does, and waits for confirms."""

    def __init__(self, url: str) -> None:
        self._embedded = url.startswith("memory")
        self._connection = open_connection(url)
        self._connection.heartbeat = 0  # no greenlet sends heartbeats
        if not self._embedded:
            self._connection.transport_options["confirm_publish"] = True
        self._connection.connect()
        self.channel = self._connection.channel()
        self.numbers = itertools.count(1)

    def declare(self) -> None:
        for name, kind in EXCHANGES.items():
            kind = "fanout" if self._embedded and kind == "headers" else kind
            self.channel.exchange_declare(name, kind, durable=False, auto_delete=False)

    def delete(self) -> None:
        for name in EXCHANGES:
            self.channel.exchange_delete(name)

    def publish(self, count: int = 1) -> list[int]:
        """Publish events to each exchange in turn. Return their numbers."""
        numbers = list(itertools.islice(self.numbers, count))
        for number in numbers:
            exchange, key = ((ORDERBOOK, ""), (TRADE, ""), (RANGER, "private.ID1.order"))[number % 3]
            body = json.dumps({"id": number}).encode()
            if self._embedded:
                self.channel.basic_publish(self.channel.prepare_message(body), exchange, key)
            else:
                self.channel.basic_publish(amqp.Message(body, delivery_mode=1), exchange, key)
        return numbers


class Stage:
    """A broker with Peatio's exchanges, and a worker that reads from it."""

    def __init__(self, kind: str, url: str, start: bool = True) -> None:
        self.kind, self.url, self.queue = kind, url, f"test.{uuid.uuid4().hex[:8]}"
        self.exchange = Exchange(url)
        self.exchange.declare()
        if start:
            self.worker = self.start()

    def start(self) -> Worker:
        worker = Worker(self.kind, self.url, self.queue)
        until(lambda: worker.is_connected, "the source is read")
        return worker

    def assert_events_arrive(self, count: int = 30) -> None:
        """Check that events published from now on arrive once and in order."""
        before = len(self.worker.got)
        numbers = self.exchange.publish(count)
        until(lambda: len(self.worker.got) >= before + count, f"{count} events arrive")
        assert self.worker.numbers()[before:] == numbers

    def renew(self) -> None:
        """Unbind and delete the stream.

        In this order: RabbitMQ (3.10) closes the channel of a publisher whose message it routes to a stream that is
        just being deleted.
        """
        with self.channel() as channel:
            for name, key in PRIVATE:
                channel.queue_unbind(self.queue, name, key)
            channel.queue_delete(self.queue)

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with Connection(self.url) as connection, connection.channel() as channel:
            yield channel


# ---- every source


def events_arrive_in_order_and_once(stage: Stage) -> None:
    stage.assert_events_arrive(300)
    assert stage.worker.happened == ["connected"]
    assert not stage.worker.consumer.behind()
    assert stage.worker.sources.lag() < WAIT


def completeness_is_known(stage: Stage) -> None:
    stage.assert_events_arrive(3)
    moment = time.monotonic()
    until(lambda: stage.worker.sources.has_read_up_to(moment), "everything is known to have arrived")


def consumer_stops(stage: Stage) -> None:
    stage.assert_events_arrive(3)
    stage.worker.end()
    assert stage.worker.reader.ready()
    stage.worker = stage.start()
    before = len(stage.worker.got)
    stage.assert_events_arrive(3)
    assert before in (0, 3), "a stream has the earlier events, a queue does not"


def source_is_read_again_after_a_lost_connection(stage: Stage) -> None:
    stage.assert_events_arrive(10)
    for _ in range(3):
        stage.worker.cut()
        meanwhile = stage.exchange.publish(10)
        until(lambda: stage.worker.is_connected, "it is read again")
        if stage.kind == "stream":
            until(
                lambda numbers=meanwhile: stage.worker.numbers()[-10:] == numbers, "events published meanwhile arrive"
            )
        stage.assert_events_arrive(10)
    assert "gap" not in stage.worker.happened


def exchanges_declared_again_are_bound_again(stage: Stage) -> None:
    """No error reports that the bindings are gone."""
    stage.assert_events_arrive(9)
    for _ in range(3):
        with stage.worker.reconnected():
            stage.exchange.delete()
            stage.exchange.declare()
        stage.assert_events_arrive(9)


def only_one_exchange_declared_again_is_bound_again(stage: Stage) -> None:
    for name, kind in EXCHANGES.items():
        with stage.worker.reconnected():
            stage.exchange.channel.exchange_delete(name)
            stage.exchange.channel.exchange_declare(name, kind, durable=False, auto_delete=False)
        stage.assert_events_arrive(9)


def lost_bindings_are_noticed_after_another_worker_has_its_own_again(stage: Stage) -> None:
    """Each worker watches its own canary: it would not miss one that another worker has declared again."""
    late = stage.start()
    check, late.source.check = late.source.check, lambda: None  # type: ignore[method-assign]
    with late.reconnected():
        with stage.worker.reconnected():
            stage.exchange.delete()
            stage.exchange.declare()
        late.source.check = check  # type: ignore[method-assign]
    before = len(late.got)
    stage.assert_events_arrive(9)
    until(lambda: len(late.got) == before + 9, "the events arrive at both")
    late.end()


# ---- the stream only


def deleted_stream_is_created_again(stage: Stage) -> None:
    stage.assert_events_arrive(10)
    for _ in range(3):
        before = len(stage.worker.happened)
        with stage.worker.reconnected(), stage.channel() as channel:
            channel.queue_delete(stage.queue)
        assert "gap" in stage.worker.happened[before:], "possible loss was not reported"
        stage.assert_events_arrive(10)
    assert "refused" not in stage.worker.happened


def replaced_stream_beyond_the_old_offset_is_noticed(stage: Stage) -> None:
    """Offsets of the old stream are meaningless in the new one."""
    stage.assert_events_arrive(5)
    other = stage.start()
    with _cut_off(stage.worker):
        with stage.channel() as channel:
            channel.queue_delete(stage.queue)
        until(lambda: other.happened.count("connected") == 2, "another worker has created the stream again")
        missed = stage.exchange.publish(100)
        until(lambda: other.numbers()[-1:] == missed[-1:], "the other worker reads them")
    until(lambda: stage.worker.is_connected, "it is read again")
    assert "gap" in stage.worker.happened, "the loss of earlier events was not reported"
    until(lambda: stage.worker.numbers()[-100:] == missed, "the events of the new stream arrive")
    stage.assert_events_arrive(5)
    other.end()


def events_removed_by_retention_are_noticed(stage: Stage) -> None:
    """A reader that was cut off for longer than events are kept misses events."""
    stage.assert_events_arrive(5)
    with _cut_off(stage.worker):
        for _ in range(40):
            stage.exchange.publish(30)
            gevent.sleep(0.05)  # retention removes whole segments, when one is full
    until(lambda: stage.worker.is_connected, "it is read again")
    assert "gap" in stage.worker.happened
    got = stage.worker.numbers()
    assert got[-1] - got[5] == len(got) - 6, "events are missing among those that are still kept"
    stage.assert_events_arrive(5)


def new_segments_are_not_gaps(stage: Stage) -> None:
    """RabbitMQ begins each segment of a stream with an internal record, which takes an offset."""
    stage.assert_events_arrive(300)
    assert stage.worker.happened == ["connected"]


def queue_in_place_of_the_stream_is_refused(stage: Stage) -> None:
    """The worker reads its own queue until the stream exists again."""
    stage.assert_events_arrive(10)
    with _cut_off(stage.worker), stage.channel() as channel:
        channel.queue_delete(stage.queue)
        channel.queue_declare(stage.queue, durable=True, auto_delete=False)
    until(lambda: stage.worker.is_connected and stage.worker.sources.replaced, "its own queue is read")
    for _ in range(5):
        stage.assert_events_arrive(600)  # more than are acknowledged at once
    assert stage.worker.happened.count("lost") == 1, "the connection was lost again"
    with stage.channel() as channel:
        assert channel.queue_declare(stage.queue, passive=True).message_count == 0, "messages were routed to the queue"
        channel.queue_delete(stage.queue)
    until(lambda: stage.worker.is_connected and not stage.worker.sources.replaced, "the stream is read again")
    stage.assert_events_arrive(10)


def short_outage_does_not_replace_the_stream(stage: Stage) -> None:
    """An outage does not count towards the time after which the worker gives up the stream."""
    setup = stage.worker.source._setup  # type: ignore[attr-defined]
    setup.unavailable_since = time.monotonic() - 10 * history_stream_setup.GIVE_UP_SECONDS
    stage.worker.source.closed(unreachable=True)
    assert setup.unavailable_since is None
    stage.worker.cut()
    until(lambda: stage.worker.is_connected, "it is read again")
    assert "refused" not in stage.worker.happened
    stage.assert_events_arrive(10)


def creating_a_stream_harms_no_publisher(stage: Stage, rounds: int = 2) -> None:
    """If a stream is bound before it accepts messages, RabbitMQ closes the publishers' connections.

    Messages are a millisecond apart, so that some fall into that time. `make renewals-long` has more of everything.
    """
    command = [sys.executable, "-m", "tests.support.steady_publisher", stage.url, "1000"]
    publisher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(rounds):
        stage.queue = f"test.{uuid.uuid4().hex[:8]}"
        workers = [Worker("stream", stage.url, stage.queue) for _ in range(3)]
        for worker in workers:
            until(lambda one=worker: one.is_connected, "the stream is read")
        stage.renew()
        for worker in workers:
            until(lambda one=worker: one.happened.count("connected") > 1 and one.is_connected, "it is read again")
            assert "refused" not in worker.happened
        for worker in workers:
            worker.end()
        stage.renew()
        if publisher.poll() is not None:
            break
    printed, _ = publisher.communicate("", timeout=WAIT)
    print(f"publisher: {printed}")
    assert publisher.returncode == 0, f"the publisher was harmed {printed}"


@contextlib.contextmanager
def _cut_off(worker: Worker) -> Iterator[None]:
    """Keep the worker without a connection within the block."""
    opened = consumer_module.open_connection

    def closed(url: str) -> Any:
        if gevent.getcurrent() is worker.reader:
            raise ConnectionRefusedError("cut off by the test")
        return opened(url)

    consumer_module.open_connection = closed
    try:
        worker.cut()
        yield
    finally:
        consumer_module.open_connection = opened


def events_dropped_from_a_full_queue_are_noticed(stage: Stage) -> None:
    """A worker that does not read for so long starts again, and its clients are told."""
    stage.assert_events_arrive()
    with stage.worker.reconnected():
        stage.worker.may_read.clear()
        for _ in range(BACKLOG // LONG):
            stage.exchange.channel.basic_publish(amqp.Message(b" " * LONG, delivery_mode=1), ORDERBOOK, "")
        stage.worker.got.clear()
        stage.worker.may_read.set()
    stage.worker.got.clear()
    stage.assert_events_arrive()


EVERY = [
    events_arrive_in_order_and_once,
    completeness_is_known,
    consumer_stops,
]
RABBITMQ = [
    source_is_read_again_after_a_lost_connection,
    exchanges_declared_again_are_bound_again,
    only_one_exchange_declared_again_is_bound_again,
]
QUEUE = [
    events_dropped_from_a_full_queue_are_noticed,
    lost_bindings_are_noticed_after_another_worker_has_its_own_again,
]
STREAM = [
    deleted_stream_is_created_again,
    replaced_stream_beyond_the_old_offset_is_noticed,
    events_removed_by_retention_are_noticed,
    new_segments_are_not_gaps,
    queue_in_place_of_the_stream_is_refused,
    short_outage_does_not_replace_the_stream,
    creating_a_stream_harms_no_publisher,
]
SCENARIOS = {
    "embedded": EVERY,
    "queue": [*EVERY, *RABBITMQ, *QUEUE],
    "stream": [*EVERY, *RABBITMQ, *STREAM],
}


def main(kind: str, scenario: str, url: str) -> None:
    run = next(one for one in SCENARIOS[kind] if one.__name__ == scenario)
    consumer_module.RETRY_SECONDS = 0.5  # type: ignore[misc]
    if run in (events_removed_by_retention_are_noticed, new_segments_are_not_gaps):
        small = {"x-stream-max-segment-size-bytes": 5_000}
        if run is events_removed_by_retention_are_noticed:
            small["x-max-length-bytes"] = 20_000
        history_stream_setup.ARGUMENTS = {**history_stream_setup.ARGUMENTS, **small}  # type: ignore[misc]
    assert queue_source.MAX_QUEUE_BYTES
    assert queue_source.WATCH_NAMES
    if run in QUEUE:
        queue_source.MAX_QUEUE_BYTES = 1_000_000  # type: ignore[misc]
        queue_source.WATCH_NAMES = 1  # type: ignore[misc]
    stage = Stage(kind, url)
    try:
        run(stage)
    finally:
        stage.worker.end()
        if kind == "stream":
            with contextlib.suppress(Exception), stage.channel() as channel:
                channel.queue_delete(stage.queue)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        print(*(f"{kind} {one.__name__}" for kind in SCENARIOS for one in SCENARIOS[kind]), sep="\n")
