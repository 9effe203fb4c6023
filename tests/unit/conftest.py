"""Settings of all unit tests: hypothesis has no deadline and stores no files. Also a stand-in for steered workers."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from peatio_ws.cluster import operator
from tests.unit.steered_workers import SteeredWorkers

settings.register_profile("unit", deadline=None, database=None, max_examples=100)
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collections, which would visit them each time: a tenth of the CPU time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Configure OpenTelemetry's SDK for the test. Return what it exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # OpenTelemetry lets no process set it twice
    return exporter


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> SteeredWorkers:
    """A stand-in for the Redis at `REDIS_URL` and its workers."""
    made = SteeredWorkers()
    monkeypatch.setattr(operator, "open_client", lambda *_: made)
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    return made
