"""When spans are on, and what they contain. `tests/live/test_spans.py` has real exporters and workers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from peatio_ws.errors import ClientError, Disconnect
from peatio_ws.monitoring import spans


def test_gateway_works_where_opentelemetry_is_not_installed() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None  # importing it raises ImportError
from peatio_ws import testing
with testing.serve(testing.gateway()) as server:
    ann = server.member("IDANN")
    server.publisher.to_member("IDANN", "order", {"id": 1})
    print(ann.json()["orderbook"]["id"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert "1" in done.stdout.splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize(
    "provider", [trace.ProxyTracerProvider(), trace.NoOpTracerProvider(), "disabled"], ids=["none", "no-op", "disabled"]
)
def test_provider_that_makes_no_spans_is_off(provider: object, monkeypatch: pytest.MonkeyPatch) -> None:
    if provider == "disabled":
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    assert spans.tracer() is None
    assert spans.current_context() is None
    with spans.handling("f", "c1"), spans.attached(None), spans.publishing("x", 1) as headers:
        assert headers == {}


@pytest.mark.parametrize(
    "error", [ValueError("secret"), SystemExit("secret"), ClientError("no"), Disconnect(4000, "no")]
)
def test_only_failures_fail_a_span_without_their_text(error: BaseException, exported: InMemorySpanExporter) -> None:
    with pytest.raises(type(error)), spans.handling("f", "c1"):
        raise error
    (span,) = exported.get_finished_spans()
    fails = not isinstance(error, ClientError | Disconnect)
    assert span.status.is_ok is not fails
    assert span.status.description is None
    assert not span.events
    attributes = {"peatio_ws.handler": "f", "peatio_ws.connection": "c1"}
    assert span.attributes == (attributes | {"error.type": type(error).__name__} if fails else attributes)


def test_published_message_carries_the_context_of_its_span(exported: InMemorySpanExporter) -> None:
    with spans.handling("f", "c1"), spans.publishing("peatio.events.ranger", 7) as headers:
        pass
    send, handle = exported.get_finished_spans()
    assert handle.context is not None
    assert send.context is not None
    assert send.parent is not None
    assert send.parent.span_id == handle.context.span_id
    begin = f"00-{handle.context.trace_id:032x}-{send.context.span_id:016x}-"
    assert headers.keys() == {"traceparent"}
    assert headers["traceparent"].startswith(begin)


def test_context_passes_to_another_greenlet(exported: InMemorySpanExporter) -> None:
    with spans.handling("f", "c1"):
        given = spans.current_context()
    with spans.attached(given), spans.handling("g", "c1"):
        pass
    with spans.handling("h", "c1"):
        pass
    parents = {span.name: span.parent for span in exported.get_finished_spans()}
    assert parents["handle g"] is not None
    assert parents["handle h"] is None
