"""Spans of deliveries: which deliveries have one, and what it contains."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.monitoring import spans
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.deliveries import Event, read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.public_events import BookChange
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.delivery_spans import DeliverySpans, describe
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, on_orderbook, on_ranger, on_trade, settings

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Worker:
    """The ingest of a worker without a broker, and a client of IDANN."""

    def __init__(self) -> None:
        self.ingest = BrokerIngest(settings(), SharedState(Revocations(0), Lockout(0)), WorkerCounters())
        self.ingest._use_spans()
        self.wire = Wire()
        receiver = Receiver(Outbox(self.wire, 2**20, 10.0), Dialect.CLASSIC)
        receiver.admit("IDANN")
        self.ingest.router.go_live(receiver)

    def deliver(self, number: int, uid: str = "IDANN", **headers: Any) -> None:
        self.ingest.private.on_delivery(on_orderbook({"id": number}, uid=uid, **headers))

    def flush(self) -> None:
        assert self.ingest.private.spans is not None
        self.ingest.private.spans.flush()


@pytest.fixture
def worker(exported: InMemorySpanExporter) -> Worker:
    return Worker()


def made(exported: InMemorySpanExporter) -> list[tuple[str, Any]]:
    """Return the name of each span, and its number of connections."""
    return [(span.name, (span.attributes or {})["peatio_ws.connections"]) for span in exported.get_finished_spans()]


def test_spans_are_off_without_an_sdk() -> None:
    worker = Worker()
    assert worker.ingest.private.spans is None
    assert worker.ingest.public.spans is None
    assert worker.ingest._consumer(worker.ingest._private_sources)._flush == worker.ingest._batch.flush


def test_span_ends_when_its_batch_is_sent(worker: Worker, exported: InMemorySpanExporter) -> None:
    worker.ingest.private.on_read_back(False)
    worker.deliver(1, **CONTEXT)
    worker.deliver(2)
    worker.deliver(3, uid="IDBOB", **CONTEXT)
    assert not exported.get_finished_spans()
    assert not worker.wire.taken
    worker.flush()
    assert worker.wire.taken
    assert made(exported) == [("deliver peatio.orderbook", 1), ("deliver peatio.orderbook", 0)]
    for span in exported.get_finished_spans():
        assert span.parent is not None
        assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    worker.flush()
    assert len(made(exported)) == 2


def test_history_that_is_read_back_makes_no_spans(worker: Worker, exported: InMemorySpanExporter) -> None:
    worker.deliver(1, **CONTEXT)
    worker.ingest.private.on_read_back(False)
    worker.flush()
    assert made(exported) == []


def test_public_delivery_makes_a_span(worker: Worker, exported: InMemorySpanExporter) -> None:
    delivery = on_ranger("public.btcusd.trades", {"id": 1})
    worker.ingest.public.on_delivery(Delivery(delivery.exchange, delivery.routing_key, CONTEXT, delivery.body))
    worker.flush()
    assert made(exported) == [("deliver peatio.events.ranger", 0)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"tracestate": "a=b"},
        {"baggage": "a=b"},
        {"traceparent": 5},
        {"traceparent": "00-nonsense"},
        {"traceparent": f"00-{TRACE}-{PARENT}-00"},
    ],
)
def test_delivery_without_a_sampled_context_makes_no_span(
    headers: dict[str, Any], worker: Worker, exported: InMemorySpanExporter
) -> None:
    worker.ingest.private.on_read_back(False)
    worker.deliver(1, **headers)
    worker.flush()
    assert worker.wire.taken
    assert made(exported) == []


def test_failure_of_the_router_fails_the_span(
    worker: Worker, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("secret")

    worker.ingest.private.on_read_back(False)
    monkeypatch.setattr(worker.ingest.router, "route", fail)
    worker.deliver(1, **CONTEXT)
    worker.flush()
    span: ReadableSpan
    (span,) = exported.get_finished_spans()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "LookupError"
    assert "secret" not in span.to_json()


def test_failing_flush_ends_its_spans(
    worker: Worker, exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise OSError

    tracer = spans.tracer()
    assert tracer is not None
    delivery = on_orderbook({"id": 1}, uid="IDANN", **CONTEXT)
    own = DeliverySpans(tracer, worker.ingest.router, worker.ingest.router.batch)
    own.route(delivery, read(delivery))
    monkeypatch.setattr(worker.ingest.router.batch, "flush", fail)
    with pytest.raises(OSError):
        own.flush()
    assert len(made(exported)) == 1


@pytest.mark.parametrize(
    ("event", "kind", "stream"),
    [
        (read(on_ranger("public.btcusd.trades", {})), "public", "btcusd.trades"),
        (read(on_ranger("global.tickers", {})), "public", "global.tickers"),
        (read(on_ranger("admin.eurusd.sys", {})), "prefixed", "admin.eurusd.sys"),
        (read(on_ranger("private.ID1.deposit", {})), "private", "deposit"),
        (read(on_orderbook({"id": 1}, uid="ID1")), "private", "order"),
        (read(on_trade({"id": 1, "ask_id": 1, "bid_id": 2}, ask_uid="ID1", bid_uid="ID2")), "private", "trade"),
        (BookChange(b"{}"), "public", "orderbook"),
    ],
)
def test_event_is_described_by_its_stream(event: Event, kind: str, stream: str) -> None:
    assert describe(event) == (kind, stream)
