"""A small collector of OpenTelemetry: an HTTP server on loopback that receives OTLP and keeps the spans."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.gateway import WAIT
from tests.support.http_sink import HttpSink
from tests.support.servers import wait_until


class ExportedSpan(NamedTuple):
    """A span as it was exported.

    Attributes:
        trace, id, parent: in hexadecimal, as in the header `traceparent`; the parent is empty for the first of a trace.
        kind: as OTLP numbers it: 2 server, 4 producer, 5 consumer.
        failed: whether its status is an error.
        events: their names.
        begin, end: Unix time in nanoseconds.
        resource: the attributes of the process.
    """

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    events: list[str]
    begin: int
    end: int
    resource: dict[str, Any]


class Collector(HttpSink):
    """Receives what exporters send, and keeps the spans."""

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that send a gateway's spans here at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def spans(self, name: str | None = None, trace: str | None = None) -> list[ExportedSpan]:
        """Return the spans received so far with this name and of this trace."""
        assert {one.path for one in self.posted} <= {"/v1/traces"}  # neither metrics nor logs
        found = [span for one in list(self.posted) for span in _spans_in(one.body)]
        return [one for one in found if name in (None, one.name) and trace in (None, one.trace)]

    def wait_for(self, count: int, name: str | None = None, trace: str | None = None) -> list[ExportedSpan]:
        """Wait until there are this many such spans. Return them."""
        wait_until(lambda: len(self.spans(name, trace)) >= count, f"{count} spans {name or ''} {trace or ''}", WAIT)
        return self.spans(name, trace)

    def contains(self, text: str) -> bool:
        """Return whether a text is anywhere in what was received."""
        return any(text.encode() in one.body for one in self.posted)


def _spans_in(body: bytes) -> list[ExportedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        ExportedSpan(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.code == 2,
            _values(span.attributes),
            [event.name for event in span.events],
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _values(resource.resource.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes}
