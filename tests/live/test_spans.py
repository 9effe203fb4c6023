"""Spans of OpenTelemetry: from a publisher's trace context through a real broker and gateway to a collector."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, receive
from tests.support.otlp import Collector, ExportedSpan
from tests.support.servers import RabbitMQ, wait_until

APP = ("gunicorn", "tests.support.apps.spans_app")
INSTRUMENTED = ("tests.programs.instrumented", *APP)
BY_COMMAND = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH": "patch_all",
}
"""What the documents say to set for `opentelemetry-instrument`."""
SERVER, PRODUCER, CONSUMER = 2, 4, 5
BOUND = 20.0
"""Seconds within which a worker ends whose exporter hangs: far less than the exporter's own limits."""


class Context:
    """A new trace context of a publisher (W3C Trace Context)."""

    def __init__(self, sampled: bool = True) -> None:
        self.trace, self.span = os.urandom(16).hex(), os.urandom(8).hex()
        self.headers = {"traceparent": f"00-{self.trace}-{self.span}-0{sampled:d}"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(folder: Path, broker: RabbitMQ, signer: Signer, collector: Collector) -> Iterator[GatewayProcess]:
    environ = {"AMQP_URL": broker.url, **signer.environ, **collector.environ, "RANGO_RBAC_ADMIN": "admin"}
    process = GatewayProcess(folder, environ, APP)
    yield process
    process.stop()


def order(publisher: Publisher, context: Context, uid: str, number: int) -> None:
    body = {"id": number, "side": "sell", "price": "9120.5", "state": "wait", "market_id": "btcusd"}
    publisher.publish("peatio.orderbook", "fanout", body, headers={"uid": uid, **context.headers})


def event(publisher: Publisher, context: Context, routing_key: str, body: Any) -> None:
    publisher.publish("peatio.events.ranger", "topic", body, routing_key, context.headers)


def the(found: list[ExportedSpan]) -> ExportedSpan:
    (only,) = found
    return only


def test_delivery_of_an_order_continues_the_publishers_trace(
    traced: GatewayProcess, publisher: Publisher, signer: Signer, collector: Collector
) -> None:
    context, before = Context(), time.time_ns()
    token = signer.token("IDSECRET")
    with traced.member(token) as first, traced.member(token) as second:
        order(publisher, context, "IDSECRET", 70000001)
        for client in (first, second):
            assert receive(client)["orderbook"]["id"] == 70000001
    span = the(collector.wait_for(1, trace=context.trace))
    assert (span.name, span.kind, span.parent, span.failed) == (
        "deliver peatio.orderbook",
        CONSUMER,
        context.span,
        False,
    )
    size = span.attributes.pop("messaging.message.body.size")
    assert size > 50
    assert span.attributes == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "process",
        "messaging.destination.name": "peatio.orderbook",
        "peatio_ws.kind": "private",
        "peatio_ws.stream": "order",
        "peatio_ws.connections": 2,
    }
    assert span.events == ["routed"]
    assert before < span.begin < span.end < time.time_ns()
    assert span.resource["service.name"] == "peatio-ws"
    for text in ("IDSECRET", "70000001", "9120.5", token):
        assert not collector.contains(text), text


@pytest.mark.parametrize(
    ("routing_key", "kind", "stream"),
    [
        ("public.tracedusd.trades", "public", "tracedusd.trades"),
        ("global.traced", "public", "global.traced"),
        ("admin.tracedusd.sys", "prefixed", "admin.tracedusd.sys"),
        ("private.IDANN.deposit", "private", "deposit"),
        ("private.IDANN.trade", "private", "trade"),
    ],
)
def test_span_names_the_stream_and_counts_the_connections(
    traced: GatewayProcess,
    publisher: Publisher,
    signer: Signer,
    collector: Collector,
    routing_key: str,
    kind: str,
    stream: str,
) -> None:
    context, nobody = Context(), Context()
    headers = {"Authorization": f"Bearer {signer.token('IDANN', role='admin')}"}
    event(publisher, nobody, routing_key, {"id": 1})
    found = [the(collector.wait_for(1, trace=nobody.trace))]
    with (
        traced.connect(f"public?stream={stream}", additional_headers=headers) as one,
        traced.connect(f"public?stream={stream}", additional_headers=headers) as other,
    ):
        for client in (one, other):
            assert receive(client)["success"]["streams"] == [stream]
        event(publisher, context, routing_key, {"id": 2})
        for client in (one, other):
            assert list(receive(client).values()) == [{"id": 2}]
    found += [the(collector.wait_for(1, trace=context.trace))]
    assert [span.attributes["peatio_ws.connections"] for span in found] == [0, 2]
    for span in found:
        assert span.name == "deliver peatio.events.ranger"
        assert (span.attributes["peatio_ws.kind"], span.attributes["peatio_ws.stream"]) == (kind, stream)


def test_only_sampled_contexts_make_spans(traced: GatewayProcess, publisher: Publisher, collector: Collector) -> None:
    before = len(collector.spans())
    malformed, not_sampled, last = Context(), Context(sampled=False), Context()
    malformed.headers["traceparent"] = f"00-{malformed.trace}-nonsense"
    with traced.connect("public?stream=unsampled.trades") as client:
        receive(client)
        for number, context in enumerate((malformed, not_sampled, last)):
            event(publisher, context, "public.unsampled.trades", number)
        for strange in (5, True, None, {"a": "b"}):
            publisher.publish("peatio.events.ranger", "topic", 3, "public.unsampled.trades", {"traceparent": strange})
        publisher.event("public.unsampled.trades", 3)
        assert [receive(client)["unsampled.trades"] for _ in range(8)] == [0, 1, 2, 3, 3, 3, 3, 3]
    collector.wait_for(1, trace=last.trace)
    assert len(collector.spans()) == before + 1


def test_handler_its_push_and_the_delivery_are_one_trace(
    traced: GatewayProcess, signer: Signer, collector: Collector
) -> None:
    with traced.connect("public?stream=pushed.trades") as client:
        receive(client)
        client.send(json.dumps({"event": "push", "body": {"id": 5}}))
        frames = [receive(client) for _ in range(2)]
        assert {"pushed.trades": {"id": 5}} in frames
    handle = the(collector.wait_for(1, "handle push"))
    work, thread, send, deliver = (
        the(collector.wait_for(1, name, handle.trace))
        for name in ("work", "in a thread", "send peatio.events.ranger", "deliver peatio.events.ranger")
    )
    assert (handle.kind, handle.parent, handle.failed) == (SERVER, "", False)
    assert work.parent == thread.parent == send.parent == handle.id
    assert (send.kind, deliver.kind) == (PRODUCER, CONSUMER)
    assert deliver.parent == send.id
    assert deliver.attributes["peatio_ws.connections"] == 1
    closed = next(
        line for line in traced.events() if line.get("connection") == handle.attributes["peatio_ws.connection"]
    )
    assert closed["event"] == "connection closed"
    assert handle.attributes == {"peatio_ws.handler": "push", "peatio_ws.connection": closed["connection"]}


def test_failing_handler_exports_the_class_of_the_exception_only(traced: GatewayProcess, collector: Collector) -> None:
    with traced.connect("public?stream=global.tickers") as client:
        receive(client)
        for name in ("fail", "refuse"):
            client.send(json.dumps({"event": name}))
            assert "error" in receive(client)
    failed, refused = (the(collector.wait_for(1, f"handle {name}")) for name in ("fail", "refuse"))
    assert failed.failed
    assert failed.attributes["error.type"] == "LookupError"
    assert not failed.events
    assert not refused.failed
    assert not collector.contains("only the log should know")


@pytest.mark.parametrize(
    ("command", "more"), [(APP, {}), (INSTRUMENTED, BY_COMMAND)], ids=["gunicorn", "opentelemetry-instrument"]
)
def test_ending_workers_export_their_last_spans(
    command: tuple[str, ...], more: dict[str, str], start: Callable[..., GatewayProcess], publisher: Publisher
) -> None:
    context = Context()
    later = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "WEB_CONCURRENCY": "2"}
    with Collector() as collector:
        gateway = start(command, **{**collector.environ, **later, **more})
        event(publisher, context, "public.lastusd.trades", {"id": 1})
        routed = 'peatio_ws_deliveries_total{exchange="peatio.events.ranger",outcome="routed"}'
        wait_until(lambda: gateway.metric(routed) == 2, "both workers have routed it")
        assert not collector.posted
        gateway.stop()
        first, second = collector.spans(trace=context.trace)
    assert first.parent == second.parent == context.span
    assert first.id != second.id
    assert not gateway.tracebacks()


def test_hanging_collector_delays_neither_clients_nor_the_end(
    start: Callable[..., GatewayProcess], publisher: Publisher
) -> None:
    long = {"OTEL_EXPORTER_OTLP_TIMEOUT": "300", "WEBSOCKET_DRAIN_SECONDS": "60"}
    with Collector(answers=False) as collector:
        gateway = start(APP, **{**collector.environ, **long})
        with gateway.connect("public?stream=hangs.trades") as client:
            receive(client)
            event(publisher, Context(), "public.hangs.trades", 1)
            assert receive(client) == {"hangs.trades": 1}
            assert collector.arrived.wait(WAIT)
            event(publisher, Context(), "public.hangs.trades", 2)
            assert receive(client) == {"hangs.trades": 2}
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < BOUND
    assert not gateway.tracebacks()
