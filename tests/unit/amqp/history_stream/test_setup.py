"""How the history stream is prepared, in which order, and when the worker gives it up, on a model of the broker."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from peatio_ws.amqp.history_stream import markers
from peatio_ws.amqp.history_stream import setup as room
from peatio_ws.amqp.history_stream.markers import BrokerAlarm
from peatio_ws.amqp.history_stream.setup import (
    ARGUMENTS,
    FORMER_ARGUMENTS,
    GAP,
    GIVE_UP_SECONDS,
    StreamSetup,
    step_timeout,
)
from peatio_ws.amqp.source import Refusal, SourceRefused, SourceUnavailable
from peatio_ws.amqp.topology import PRIVATE, exchanges_of
from peatio_ws.protocol.exchanges import Delivery

BIND = [f"bind {exchange} {key}".rstrip() for exchange, key in PRIVATE]
UNBIND = [step.replace("bind", "unbind", 1) for step in BIND]


class Broker:
    """A broker that records what is done, in order.

    Attributes:
        steps: recorded steps.
        canaries: existing canaries.
        existing: arguments of the existing queue; None if there is none.
        queue_error, marker_error: raised when the queue is declared, and when a marker is published.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.canaries: set[str] = set()
        self.arguments: dict[str, Any] = {}
        self.existing: Any = None
        self.queue_error: Exception | None = None
        self.marker_error: Exception | None = None
        self.version = "3.13.7"
        self.transport = SimpleNamespace(driver_type="amqp")
        self.default_channel = self
        self.collected = 0

    @property
    def connection(self) -> Any:
        return SimpleNamespace(server_properties={"product": "RabbitMQ", "version": self.version})

    def clone(self) -> Broker:
        return self

    def channel(self) -> Broker:
        return self

    def close(self) -> None: ...

    def collect(self) -> None:
        self.collected += 1

    def queue_declare(self, name: str, arguments: dict[str, Any], **_: Any) -> None:
        if self.queue_error is not None:
            raise self.queue_error
        if self.existing not in (None, arguments):
            raise PreconditionFailed("inequivalent arg")
        self.steps.append(f"declare {name}")
        self.arguments = arguments

    def queue_bind(self, _queue: str, exchange: str, key: str) -> None:
        self.steps.append(f"bind {exchange} {key}".rstrip())

    def queue_unbind(self, _queue: str, exchange: str, key: str) -> None:
        self.steps.append(f"unbind {exchange} {key}".rstrip())

    def exchange_declare(self, name: str, _kind: str, passive: bool = False, **_: Any) -> None:
        if not name.startswith("q.bound."):
            return
        if passive and name not in self.canaries:
            raise NotFound
        self.canaries.add(name)

    def exchange_bind(self, *_: Any) -> None: ...

    def exchange_delete(self, name: str) -> None:
        self.canaries.discard(name)

    def put(
        self, _connection: Any, _queue: str, _seconds: float, body: bytes, headers: dict[str, str], _patience: float = 0
    ) -> Delivery:
        if self.marker_error is not None:
            raise self.marker_error
        self.steps.append("gap" if body == GAP else "marker")
        return Delivery("", "q", headers, body, len(self.steps))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Broker()
    monkeypatch.setattr(markers, "publish_and_read_back", made.put)
    monkeypatch.setattr(markers, "is_refused_to_publishers", lambda *_: False)
    return made


@pytest.fixture
def setup(broker: Any) -> StreamSetup:
    made = StreamSetup("q", True, lambda: {"key": "1"})
    made.set_up(broker)
    broker.steps.clear()
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


# ---- the order


def test_new_stream_is_tested_before_it_is_bound(broker: Any) -> None:
    end = StreamSetup("q", True, lambda: {"key": "1"}).set_up(broker)
    assert broker.steps == ["declare q", "marker", *BIND, "gap"]
    assert broker.arguments == ARGUMENTS
    assert end is not None
    assert end.body == GAP, "a new binding has to announce a gap"
    assert broker.canaries == {f"q.bound.{name}" for name in exchanges_of(PRIVATE)}


def test_stream_that_stayed_bound_has_no_gap(broker: Any, setup: StreamSetup) -> None:
    end = setup.set_up(broker)
    assert broker.steps == ["declare q", "marker", *BIND]
    assert end is not None
    assert end.headers == {"key": "1"}


def test_a_missing_canary_is_a_gap_for_every_worker(broker: Any, setup: StreamSetup) -> None:
    broker.canaries.pop()
    setup.set_up(broker)
    assert broker.steps[-1] == "gap"
    assert len(broker.canaries) == len(exchanges_of(PRIVATE))


def test_stream_is_bound_without_a_marker_during_an_alarm(broker: Any, setup: StreamSetup) -> None:
    broker.marker_error = BrokerAlarm("no memory")
    assert setup.set_up(broker) is None
    assert broker.steps == ["declare q", *BIND]


def test_stream_of_an_earlier_version_is_used_as_it_is(broker: Any) -> None:
    broker.existing = FORMER_ARGUMENTS
    assert StreamSetup("q", True).set_up(broker) is not None
    assert broker.steps[0] == "declare q"


# ---- refusals


@pytest.mark.parametrize("version", ["3.7.28", "3.8.34"])
def test_a_broker_without_streams_is_refused_before_anything_is_declared(broker: Any, version: str) -> None:
    broker.version = version
    with pytest.raises(SourceRefused) as refused:
        StreamSetup("q", True).set_up(broker)
    assert refused.value.refusal is Refusal.TOO_OLD
    assert broker.steps == []


@pytest.mark.parametrize("version", ["3.9.0", "4.1.0", "unknown"])
def test_other_versions_are_tried(broker: Any, version: str) -> None:
    broker.version = version
    assert StreamSetup("q", True).set_up(broker) is not None


@pytest.mark.parametrize(
    ("error", "refusal"),
    [(PreconditionFailed("x"), Refusal.OTHER_ARGUMENTS), (AccessRefused("x"), Refusal.NOT_ALLOWED)],
)
def test_queue_that_is_not_the_stream_is_refused(broker: Any, error: Exception, refusal: Refusal) -> None:
    broker.queue_error = error
    with pytest.raises(SourceRefused) as refused:
        StreamSetup("q", True).set_up(broker)
    assert refused.value.refusal is refusal


def test_step_without_an_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STEP_SECONDS", 0.01)
    with pytest.raises(SourceUnavailable) as unavailable, step_timeout():
        gevent.sleep(30)
    assert not unavailable.value.answered


@pytest.mark.parametrize("writable", [True, False])
def test_replica_is_lost_only_if_the_stream_accepts_messages(
    broker: Any, setup: StreamSetup, writable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "is_writable", lambda *_: writable)
    broker.marker_error = SourceUnavailable("no replica here", answered=True, refusal=Refusal.NO_REPLICA)
    with pytest.raises(SourceUnavailable) as unavailable:
        setup.publish_marker_again(broker)
    assert (unavailable.value.refusal is Refusal.NO_REPLICA) is writable


def test_replica_that_has_restarted_is_not_lost(
    broker: Any, setup: StreamSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart(*_: object) -> bool:
        broker.marker_error = None
        return True

    monkeypatch.setattr(markers, "is_writable", restart)
    broker.marker_error = SourceUnavailable("no replica here", answered=True, refusal=Refusal.NO_REPLICA)
    assert setup.publish_marker_again(broker).body == b""


# ---- a stream that is unavailable


def test_stream_is_given_up_after_the_time_limit(broker: Any, setup: StreamSetup, clock: list[float]) -> None:
    broker.marker_error = SourceUnavailable("no leader", answered=True)
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            setup.set_up(broker)
        clock[0] += GIVE_UP_SECONDS - 1
        setup.on_success()
    with pytest.raises(SourceUnavailable):
        setup.set_up(broker)
    clock[0] += GIVE_UP_SECONDS
    with pytest.raises(SourceRefused) as refused:
        setup.set_up(broker)
    assert refused.value.refusal is Refusal.UNAVAILABLE


def test_reason_is_the_brokers_last_answer_of_this_outage(broker: Any, setup: StreamSetup, clock: list[float]) -> None:
    errors = [
        SourceUnavailable("busy", answered=False),
        SourceUnavailable("no replica here", answered=True, refusal=Refusal.NO_REPLICA),
    ]
    for error in errors:
        broker.marker_error = error
        with pytest.raises(SourceUnavailable):
            setup.set_up(broker)
    clock[0] += GIVE_UP_SECONDS
    broker.marker_error = errors[0]
    with pytest.raises(SourceRefused) as refused:
        setup.set_up(broker)
    assert (refused.value.refusal, refused.value.detail) == (Refusal.NO_REPLICA, "no replica here")
    setup.on_success()
    with pytest.raises(SourceUnavailable):
        setup.set_up(broker)
    clock[0] += GIVE_UP_SECONDS
    with pytest.raises(SourceRefused) as refused:
        setup.set_up(broker)
    assert refused.value.refusal is Refusal.UNAVAILABLE, "the reason is from an earlier outage"


def test_stream_that_works_again_is_kept(broker: Any, setup: StreamSetup, clock: list[float]) -> None:
    broker.marker_error = SourceUnavailable("no leader", answered=True)
    with pytest.raises(SourceUnavailable):
        setup.set_up(broker)
    broker.marker_error = None
    clock[0] += GIVE_UP_SECONDS
    setup.set_up(broker)
    assert setup.unavailable_since is None


@pytest.mark.parametrize("harmed", [False, True])
def test_the_stream_is_unbound_only_if_it_harms_publishers(
    broker: Any, setup: StreamSetup, harmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "is_refused_to_publishers", lambda *_: harmed)
    monkeypatch.setattr(room, "GIVE_UP_SECONDS", 0.02)
    error = SourceUnavailable("no leader", answered=True)
    setup.give_up(broker, error, time.monotonic() + 60)
    assert setup._protecting is not None
    setup._protecting.join(20)
    assert broker.steps == (UNBIND if harmed else [])
    assert bool(broker.canaries) is not harmed, "without canaries the next worker notices the missing bindings"
    assert broker.collected == 1


def test_unbound_stream_is_not_unbound_again(broker: Any, setup: StreamSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup._unbind(broker)
    setup._unbind(broker)
    assert broker.steps == UNBIND
    broker.steps.clear()
    setup.set_up(broker)
    setup._unbind(broker)
    assert broker.steps[-len(UNBIND) :] == UNBIND, "the stream, bound again meanwhile, was not unbound"
