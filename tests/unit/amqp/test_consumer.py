"""How the consumer reports whether reading keeps up, and how it tries a refused source again."""

from __future__ import annotations

import time
from types import SimpleNamespace

import gevent
import gevent.event
import pytest

from peatio_ws.amqp import consumer
from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.history_stream import setup
from peatio_ws.amqp.history_stream.setup import GIVE_UP_SECONDS, StreamSetup
from peatio_ws.amqp.history_stream.source import StreamSource
from peatio_ws.amqp.source import Refusal, Restored, SourceRefused, Sources, SourceUnavailable


def test_reader_is_behind_since_it_last_drained_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.time, "monotonic", lambda: 100.0)
    reader = Consumer(SimpleNamespace(), (), lambda: False, lambda _connected: None, lambda _seconds: None)  # type: ignore[arg-type]
    assert reader.behind() == 0
    reader._connected, reader._transport = True, SimpleNamespace(drained=False, level_at=97.0)
    assert reader.behind() == 3
    reader._transport.drained = True
    assert reader.behind() == 0
    reader._connected, reader._transport = True, None
    assert reader.behind() == 0, "brokers other than RabbitMQ have no such transport"


@pytest.fixture
def trials() -> list[bool]:
    """What the observer is told of trials."""
    return []


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, trials: list[bool]) -> Consumer:
    """A consumer of its other source, whose trial of the preferred one has succeeded without its knowledge."""
    observer = SimpleNamespace(on_source=lambda _refused: None, on_trial=trials.append)
    sources = Sources(SimpleNamespace(name="stream"), SimpleNamespace(name="queue"), observer)  # type: ignore[arg-type]
    reader = Consumer(sources, (), lambda: False, lambda _connected: None, lambda _seconds: None)
    sources.replace(SourceRefused(Refusal.TOO_OLD))
    monkeypatch.setattr(reader, "_prepare", lambda _url: True)
    reader._try_preferred("amqp://")
    gevent.idle()
    return reader


def test_result_of_an_old_trial_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tried: Consumer, trials: list[bool]
) -> None:
    later = time.monotonic() + 1000  # the other source is lost meanwhile
    monkeypatch.setattr(consumer.time, "monotonic", lambda: later)
    tried._restore_preferred()
    assert not tried._sources.replaced
    assert trials == [True, False], "the events since the trial began are not those that may be repeated"
    tried._try_preferred("amqp://")  # does not raise: the preferred source is not prepared again


def test_other_source_is_not_read_once_the_preferred_one_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of the two sources have different positions in history, so none may come in between."""
    happened, arrived = list[str](), gevent.event.Event()

    def drain() -> None:
        arrived.wait()
        arrived.clear()
        happened.append("delivery")

    def on_source(refused: SourceRefused | None) -> None:
        happened.append("refused" if refused else "restored")
        arrived.set()  # a delivery arrives in the same turn of the loop

    def read(*_: object) -> None:
        if "restored" in happened:
            reader.stop()
            raise ConnectionError
        reader._connected_at, reader._connected = 0.0, True
        reader._drain(connection, "memory://")

    line = SimpleNamespace(drain_events=drain, transport=None)
    connection = SimpleNamespace(connection=line, heartbeat=1, heartbeat_check=lambda: None, drain_events=drain)
    plain = {"name": "private", "after_batch": lambda: None, "check": lambda: None}
    observer = SimpleNamespace(on_source=on_source, on_trial=lambda _running: None)
    sources = Sources(SimpleNamespace(**plain), SimpleNamespace(**plain), observer)  # type: ignore[arg-type]
    reader = Consumer(sources, ("memory://",), lambda: False, lambda _connected: None, lambda _seconds: None)
    for name, value in {"_read": read, "_prepare": lambda _url: True}.items():
        monkeypatch.setattr(reader, name, value)
    monkeypatch.setattr(consumer, "CHECK_SECONDS", 0.01)
    sources.replace(SourceRefused(Refusal.TOO_OLD))
    with gevent.Timeout(30):
        gevent.spawn(reader.run).join()
    assert happened == ["refused", "delivery", "restored"]
    assert sources.current is sources.preferred


def test_failed_reader_is_not_connected_while_it_waits_for_its_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    status, sources = list[bool](), Sources(SimpleNamespace(name="stream"))  # type: ignore[arg-type]
    reader = Consumer(sources, ("amqp://",), lambda: False, status.append, lambda _seconds: None)

    def read(_url: str) -> None:
        reader._connected = True
        reader._on_read()
        raise KeyError("a bug")

    monkeypatch.setattr(reader, "_read", read)
    with pytest.raises(KeyError):
        reader.run()
    assert (reader.connected, status) == (False, [True, False])


@pytest.mark.parametrize(("was_read", "skipped"), [(True, [30.0]), (False, [])])
def test_restored_source_skips_what_came_from_the_other_one(
    monkeypatch: pytest.MonkeyPatch, was_read: bool, skipped: list[float]
) -> None:
    now, skips = 1000.0, list[float]()
    monkeypatch.setattr(consumer.time, "monotonic", lambda: now)
    preferred = SimpleNamespace(name="stream", skip=skips.append)
    sources = Sources(preferred, SimpleNamespace(name="queue"))  # type: ignore[arg-type]
    reader = Consumer(sources, (), lambda: False, lambda _connected: None, lambda _seconds: None)
    reader._on_read()
    reader._on_lost()
    reader._replace(SourceRefused(Refusal.TOO_OLD), "amqp://")
    now += 600
    if was_read:
        reader._on_read()
    reader._on_lost()
    now += 30
    reader._restore_preferred()
    assert (sources.current, skips) == (preferred, skipped)


def test_success_of_a_trial_is_not_lost_with_the_connection(tried: Consumer) -> None:
    for _ in range(2):  # the connection is lost before the reader knows
        with pytest.raises(Restored):
            tried._try_preferred("amqp://")


class Node:
    """A node of a cluster whose stream has no quorum."""

    def __init__(self, alive: bool) -> None:
        self.alive, self.default_channel = alive, SimpleNamespace()

    def connect(self) -> None:
        if not self.alive:
            raise ConnectionRefusedError

    def clone(self) -> Node:
        return self

    def collect(self) -> None: ...


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Node]:
    """Of three nodes, two are dead."""

    def set_up(*_: object) -> None:
        raise SourceUnavailable("no leader", answered=True)

    made = {"amqp://a": Node(alive=False), "amqp://b": Node(alive=True), "amqp://c": Node(alive=False)}
    monkeypatch.setattr(consumer, "open_connection", made.__getitem__)
    monkeypatch.setattr(StreamSetup, "_set_up", set_up)
    monkeypatch.setattr(StreamSetup, "_protect_publishers", lambda *_: None)
    return made


def read_in_turn(monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Node], rounds: int) -> bool:
    """Try each node in turn, with two seconds in between. Return whether the stream was given up."""
    now = [time.monotonic()]
    monkeypatch.setattr(setup, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream = StreamSource("q", True, 120, lambda _delivery: None, lambda: None)
    reader = Consumer(Sources(stream), tuple(nodes), lambda: False, lambda _connected: None, lambda _seconds: None)
    for _ in range(rounds):
        for url in nodes:
            now[0] += 2
            try:
                reader._read(url)
            except ConnectionError:
                pass
            except SourceRefused:
                return True
    return False


def test_stream_is_given_up_while_other_brokers_are_dead(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Node]
) -> None:
    assert read_in_turn(monkeypatch, nodes, int(GIVE_UP_SECONDS))


def test_stream_is_not_given_up_for_the_time_without_any_broker(
    monkeypatch: pytest.MonkeyPatch, nodes: dict[str, Node]
) -> None:
    node, rounds = nodes["amqp://b"], iter([True, False] * 10)

    def connect() -> None:
        if not next(rounds):
            raise ConnectionRefusedError

    monkeypatch.setattr(node, "connect", connect)
    assert not read_in_turn(monkeypatch, nodes, 10)


def test_refused_source_is_tried_at_all_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a cluster that grew has no replica of the stream; the one that has it was down for a while."""
    read, tried_at = list[str](), list[str]()

    def read_from(url: str) -> None:
        read.append(url)
        if len(read) == 1:
            raise SourceRefused(Refusal.NO_REPLICA)
        if reader._sources.replaced:
            reader._try_preferred(url)
            gevent.idle()
            reader._try_preferred(url)
        reader.stop()
        raise ConnectionError

    def prepare(url: str) -> bool:
        tried_at.append(url)
        return url == "memory://a"

    sources = Sources(SimpleNamespace(name="stream"), SimpleNamespace(name="queue"))  # type: ignore[arg-type]
    urls = ("memory://b", "memory://c", "memory://a", "memory://d")
    reader = Consumer(sources, urls, lambda: False, lambda _connected: None, lambda _seconds: None)
    monkeypatch.setattr(reader, "_read", read_from)
    monkeypatch.setattr(reader, "_prepare", prepare)
    monkeypatch.setattr(reader, "_delay_next_trial", lambda: None)
    monkeypatch.setattr(consumer, "BROKER_PAUSES", (0.01, 0.01))
    with gevent.Timeout(30):
        reader.run()
    assert tried_at == ["memory://b", "memory://c", "memory://a"]
    assert read == ["memory://b", "memory://b", "memory://a"]
