"""The spans of deliveries whose publisher sent a sampled trace context (W3C Trace Context) in the message's headers.

A span begins when the worker takes up the delivery, and ends when the batch is passed to the clients' sockets. Used
only where an OpenTelemetry SDK is configured (`monitoring/spans.py`). Knows no handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peatio_ws.monitoring import spans
from peatio_ws.protocol.deliveries import Event
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.protocol.public_events import PublicEvent
from peatio_ws.protocol.stream_syntax import Kind
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.history import Entry
from peatio_ws.routing.router import Router

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer


class DeliverySpans:
    """Routes the events of one worker within spans.

    Args:
        tracer: makes the spans.
        router: routes each event.
        batch: the batch that the router fills.
    """

    def __init__(self, tracer: Tracer, router: Router, batch: Batch) -> None:
        from opentelemetry import propagate, trace

        self._tracer, self._router, self._batch = tracer, router, batch
        self._extract, self._span_of = propagate.extract, trace.get_current_span
        self._fields = frozenset(propagate.get_global_textmap().fields)  # headers that may have a context
        self._open: list[Span] = []

    def route(self, delivery: Delivery, event: Event, entry: Entry | None = None) -> None:
        """Call `Router.route`, in a span if the publisher sent a trace context. `flush` ends the span."""
        parent = self._parent(delivery.headers)
        if parent is None:
            self._router.route(event, entry)
            return
        span = self._begin(parent, delivery, event)
        before = self._batch.taken
        try:
            self._router.route(event, entry)
        except Exception as error:
            spans.fail(span, error)
            raise
        finally:
            span.set_attribute("peatio_ws.connections", self._batch.taken - before)
            span.add_event("routed")

    def flush(self) -> bool:
        """Call `Batch.flush`, and end the spans of what it sends. Return whether there was anything."""
        ending, self._open = self._open, []
        try:
            return self._batch.flush()
        finally:
            for span in ending:
                span.end()

    def _parent(self, headers: Mapping[str, Any]) -> Context | None:
        """Return the publisher's context; None if there is none, or its trace is not sampled."""
        if not headers or self._fields.isdisjoint(headers):
            return None
        texts = {name: value for name, value in headers.items() if name in self._fields and isinstance(value, str)}
        parent = self._extract(texts)
        found = self._span_of(parent).get_span_context()
        return parent if found.is_valid and found.trace_flags.sampled else None

    def _begin(self, parent: Context, delivery: Delivery, event: Event) -> Span:
        from opentelemetry.trace import SpanKind

        kind, stream = describe(event)
        attributes = spans.message_attributes("deliver", delivery.exchange, len(delivery.body))
        attributes |= {"peatio_ws.kind": kind, "peatio_ws.stream": stream}
        name = f"deliver {delivery.exchange}"
        span = self._tracer.start_span(name, context=parent, kind=SpanKind.CONSUMER, attributes=attributes)
        self._open.append(span)
        return span


def describe(event: Event) -> tuple[str, str]:
    """Return the kind of an event (`private`, `public`, `prefixed`), and the name of its stream."""
    match event:
        case PublicEvent(stream=stream):
            return ("prefixed" if stream.count(".") == Kind.PREFIXED else "public"), stream
        case PrivateEvent():
            return "private", event.stream
        case _:
            return "public", "orderbook"
