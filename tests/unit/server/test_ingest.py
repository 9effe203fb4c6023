"""What a worker does when a source of events is connected or lost, and how it handles problems of books."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from structlog.testing import capture_logs

from peatio_ws.amqp.history_stream.source import MARKED_WITHIN
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.routing.trade_history import WINDOW
from peatio_ws.server import ingest as ingest_module
from peatio_ws.server.ingest import BookProblems, BrokerIngest
from tests.unit.routing.test_channels import Reader
from tests.unit.samples import on_ranger, settings


class Shared(SharedState):
    """The shared state of one worker. Records calls."""

    def __init__(self) -> None:
        super().__init__(Revocations(0), Lockout(0))
        self.calls: list[str] = []

    def load(self) -> None:
        self.calls.append("load orders")

    def ask_books(self) -> None:
        self.calls.append("ask for books")

    def forget_book(self, name: str) -> None:
        self.calls.append(f"forget {name}")


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def counters() -> WorkerCounters:
    return WorkerCounters()


@pytest.fixture
def ingest(shared: Shared, counters: WorkerCounters) -> BrokerIngest:
    return BrokerIngest(settings(), shared, counters)


@pytest.fixture
def consumers(ingest: BrokerIngest) -> dict[str, Any]:
    """Both consumers, not connected."""
    ingest._consumers = found = {name: SimpleNamespace(connected=False) for name in ("private", "public")}  # type: ignore[assignment]
    return found


def test_a_worker_is_ready_once_both_sources_are_read(ingest: BrokerIngest, consumers: dict[str, Any]) -> None:
    assert ingest.problems() == ["not connected to the broker"]
    ingest.on_broker("public", True)
    assert ingest.problems() == ["not connected to the broker"]
    consumers["private"].connected = True
    assert ingest.problems() == ["history is being read back"]
    ingest.on_broker("private", True)
    assert ingest.problems() == []
    assert ingest.private.live
    ingest.on_broker("public", False)
    assert ingest.problems() == ["not connected to the broker"]


def test_each_connection_loads_orders_and_books(ingest: BrokerIngest, shared: Shared) -> None:
    ingest.on_broker("private", True)
    assert shared.calls == ["load orders"]
    ingest.on_broker("public", True)
    ingest.on_broker("public", False)
    ingest.on_broker("public", True)
    assert shared.calls == ["load orders", "ask for books", "ask for books"]


def test_trades_are_forgotten_when_the_broker_is_lost_and_reported_when_it_is_back(ingest: BrokerIngest) -> None:
    name, marked, reader = "btcusd.trades", ingest.channels.marked, Reader()
    ingest.channels.follow(reader.outbox, name)

    def publish() -> None:
        for number in range(WINDOW):
            ingest.channels.publish(name, b'{"tid":%d}' % number)

    publish()
    ingest.on_broker("private", False)
    assert marked.mark(name)
    ingest.on_broker("public", False)
    assert not marked.has_history(name)
    publish()
    reader.received()
    ingest.on_broker("public", True)
    assert not marked.has_history(name)
    assert reader.received() == [{"complete": {name: False}}]
    publish()
    ingest.stop()
    assert not marked.has_history(name)


def test_a_lost_connection_is_counted_for_its_source(ingest: BrokerIngest) -> None:
    def losses() -> list[float]:
        return [metrics.broker_losses.labels(name)._value.get() for name in ("private", "public")]

    before = losses()
    ingest.on_broker("public", False)
    assert losses() == [before[0], before[1] + 1]


@pytest.mark.parametrize("connected", [False, True])
def test_clients_wait_longer_for_the_history_than_for_the_broker(
    ingest: BrokerIngest, consumers: dict[str, Any], connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(ingest.replays, "caught_up", SimpleNamespace(wait=lambda seconds: waits.append(seconds)))
    consumers["private"].connected = connected
    ingest.wait_until_live()
    rest = ingest_module.LIVE_SECONDS - ingest_module.UNREACHABLE_SECONDS
    assert waits == [ingest_module.UNREACHABLE_SECONDS, *([rest] if connected else [])]


def test_clients_do_not_wait_for_a_live_worker(ingest: BrokerIngest) -> None:
    ingest.on_broker("private", True)
    with gevent.Timeout(20):
        ingest.wait_until_live()


def test_public_deliveries_are_counted_by_their_outcome(ingest: BrokerIngest, counters: WorkerCounters) -> None:
    for key, body in (("public.btcusd.trades", b"{}"), ("x", b"{}"), ("public.btcusd.trades", b"no json")):
        ingest.public.on_delivery(on_ranger(key, body))
    outcomes = ("routed", "routing_key", "json")
    counts = [counters.count(metrics.deliveries, "peatio.events.ranger", outcome).value for outcome in outcomes]
    assert counts == [1, 1, 1]


# ---- problems of books


@pytest.mark.parametrize(
    ("problem", "calls"), [("hole", ["ask for books"]), ("restart", ["forget btcusd.ob"]), ("full", [])]
)
def test_problem_of_a_book_is_logged_and_handled(shared: Shared, problem: str, calls: list[str]) -> None:
    with capture_logs() as lines:
        BookProblems(shared).report(problem, "btcusd.ob-inc")
    assert shared.calls == calls
    assert [(line["reason"], line["stream"], line["log_level"]) for line in lines] == [
        (problem, "btcusd.ob-inc", "warning")
    ]


def test_repeated_problems_are_handled_each_time_and_logged_once(shared: Shared) -> None:
    problems = BookProblems(shared)
    with capture_logs() as lines:
        for _ in range(3):
            problems.report("hole", "btcusd.ob-inc")
        problems.report("restart", "btcusd.ob-inc")
    assert shared.calls == ["ask for books"] * 3 + ["forget btcusd.ob"]
    assert [line["reason"] for line in lines] == ["hole", "restart"]


@pytest.mark.parametrize("seconds", [30, 120, 300])
def test_a_quiet_client_may_be_away_for_the_whole_time(shared: Shared, counters: WorkerCounters, seconds: int) -> None:
    rules = settings(WEBSOCKET_RESUME_SECONDS=str(seconds))
    history = BrokerIngest(rules, shared, counters).history
    marks = [number * (MARKED_WITHIN - 0.1) for number in range(100)]
    returns = marks[1] + seconds / 3 + seconds  # the cursor of the first mark, sent just before the second one
    for number, at in enumerate(marks, 1):
        if at <= returns:
            history.append(number, on_ranger("private.A.order", {"id": number}), (), at)
        if number == 1:
            cursor = history.position()
    history.evict(returns)
    assert history.holds(cursor)


def test_workers_of_one_master_have_different_histories(shared: Shared, counters: WorkerCounters) -> None:
    """With gunicorn's `preload_app` the master makes this object, and each worker starts a copy of it. A cursor from
    before the first event of a worker must not hold for another worker, which may have missed events."""
    ingest = BrokerIngest(settings(AMQP_URL=EMBEDDED_BROKER), shared, counters)
    cursor = ingest.cursors.at("IDANN")
    assert ingest.cursors.open(cursor, "IDANN") is not None
    ingest.start()
    try:
        assert ingest.cursors.open(cursor, "IDANN") is None
    finally:
        ingest.stop()
