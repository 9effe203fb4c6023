"""When a worker configures OpenTelemetry's SDK, and how it ends it. `tests/live/test_spans.py` has real workers."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import gevent
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.testing import capture_logs

from peatio_ws.monitoring import spans
from peatio_ws.server.gunicorn import span_export

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def initialized(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record calls of OpenTelemetry's function instead of configuring this process, which would last."""
    calls: list[bool] = []
    configures = SimpleNamespace(initialize=lambda: calls.append(True))
    stand_in = SimpleNamespace(auto_instrumentation=configures)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", stand_in)
    return calls


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, False),
    ],
)
def test_variables_of_opentelemetry_switch_it_on(
    environ: dict[str, str], wanted: bool, initialized: list[bool]
) -> None:
    span_export.configure(environ := dict(environ))
    assert bool(initialized) is wanted
    assert (environ.get("OTEL_SERVICE_NAME") == "peatio-ws") is wanted


def test_operators_values_have_priority_over_the_defaults(initialized: list[bool]) -> None:
    given = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_RESOURCE_ATTRIBUTES": "service.name=ws,a=b"}
    span_export.configure(environ := ENDPOINT | given)
    assert environ == ENDPOINT | given | {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
        "OTEL_LOGS_EXPORTER": "none",
    }


def test_configured_sdk_is_not_configured_again(exported: InMemorySpanExporter, initialized: list[bool]) -> None:
    span_export.configure(dict(ENDPOINT))
    assert not initialized


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    with capture_logs() as logged:
        span_export.configure(dict(ENDPOINT))
        span_export.configure({})
    (line,) = logged
    assert (line["log_level"], line["missing"]) == ("warning", "opentelemetry.instrumentation")
    assert "peatio-ws[otel]" in line["remedy"]


def test_shutdown_exports_and_ends_the_sdk(exported: InMemorySpanExporter) -> None:
    span_export.end()
    with spans.handling("late", "c1"):
        pass
    assert not exported.get_finished_spans()


def test_end_does_not_wait_for_an_exporter_that_hangs(
    exported: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "EXPORT_SECONDS", 0.01)
    monkeypatch.setattr(trace.get_tracer_provider(), "shutdown", lambda: gevent.sleep(3600))
    span_export.end()
