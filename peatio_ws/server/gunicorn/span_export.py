"""Configures OpenTelemetry's SDK in a worker, and ends it when the worker exits.

Knows the variables and packages of OpenTelemetry; does not know what spans contain (`monitoring/spans.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

import gevent
import structlog

from peatio_ws.monitoring import spans

log = structlog.get_logger("peatio_ws.server.gunicorn.span_export")

DEFAULTS: Final = {
    # The C code of the other protocol, gRPC, blocks gevent's event loop.
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    # To encode 64 spans takes 4 ms, in which no client is served; the SDK's 512 take 35 ms.
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
    # Metrics are scraped from /metrics, and the log is on standard error.
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}
"""What holds for variables of OpenTelemetry that the operator has not set."""
SERVICE: Final = "peatio-ws"
"""The default of `OTEL_SERVICE_NAME`."""
EXPORT_SECONDS: Final = 2.0
"""How long an ending worker waits until its last spans are exported."""
_PACKAGES: Final = "pip install 'peatio-ws[otel]' opentelemetry-distro opentelemetry-exporter-otlp-proto-http"


def configure(environ: MutableMapping[str, str] = os.environ) -> None:
    """Configure OpenTelemetry's SDK from the environment if its variables ask for traces, unless it is configured.

    Call it in a worker after gunicorn has forked it: the threads of an SDK do not survive a fork, and with gevent's
    patches they are greenlets. Call it before the application is imported, so that OpenTelemetry's instrumentations of
    the application's libraries work.
    """
    if not _is_wanted(environ) or spans.tracer() is not None:
        return
    try:
        from opentelemetry.instrumentation import auto_instrumentation
        from opentelemetry.sdk import trace as _sdk  # noqa: F401
    except ImportError as error:
        log.warning("traces are configured, but OpenTelemetry is not installed", missing=error.name, remedy=_PACKAGES)
        return
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    if "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
    auto_instrumentation.initialize()  # logs its own failures


def _is_wanted(environ: Mapping[str, str]) -> bool:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return bool(exporter) or any(environ.get(name) for name in endpoints)


def end() -> None:
    """Export the spans that wait, and end the SDK. Wait for `EXPORT_SECONDS` at most: exporters retry for longer."""
    if spans.tracer() is not None:
        gevent.spawn(_shut_down).join(EXPORT_SECONDS)


def _shut_down() -> None:
    from opentelemetry import trace

    getattr(trace.get_tracer_provider(), "shutdown", lambda: None)()
