"""Spans of OpenTelemetry, for processes in which its SDK is configured. Otherwise nothing happens, and the gateway
imports no module of OpenTelemetry (docs/operations.md, "Traces").

Spans contain neither bodies nor tokens, neither uids nor the texts of exceptions. `server/gunicorn/span_export.py`
configures the SDK in a worker, and `server/delivery_spans.py` has the spans of deliveries. Does not load gevent.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peatio_ws.errors import ClientError, Disconnect
from peatio_ws.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer


def tracer() -> Tracer | None:
    """Return the tracer of this process; None unless an SDK is configured."""
    if "opentelemetry.trace" not in sys.modules:  # then nothing can have configured one
        return None
    from opentelemetry import trace

    return _tracer_of(trace.get_tracer_provider())


@functools.lru_cache(1)
def _tracer_of(provider: Any) -> Tracer | None:
    from opentelemetry import trace

    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    found: Tracer = provider.get_tracer("peatio_ws", VERSION)
    return None if isinstance(found, trace.NoOpTracer) else found  # OTEL_SDK_DISABLED=true


@contextlib.contextmanager
def handling(handler: str, connection: str) -> Iterator[None]:
    """Run the block in a span: a call of a function of the application.

    Args:
        handler: its name, as registered in the code.
        connection: the id of the client's connection.
    """
    current = tracer()
    if current is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    attributes = {"peatio_ws.handler": handler, "peatio_ws.connection": connection}
    with _span(current, f"handle {handler}", SpanKind.SERVER, attributes):
        yield


@contextlib.contextmanager
def publishing(exchange: str, size: int) -> Iterator[dict[str, str]]:
    """Run the block in a span: a message is published. Return the headers by which its consumers continue the trace.

    Args:
        size: of the body, in bytes.
    """
    current = tracer()
    headers: dict[str, str] = {}
    if current is None:
        yield headers
        return
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    with _span(current, f"send {exchange}", SpanKind.PRODUCER, message_attributes("send", exchange, size)):
        propagate.inject(headers)
        yield headers


def message_attributes(operation: str, exchange: str, size: int) -> dict[str, Any]:
    """Return the attributes of a message's span (OpenTelemetry's semantic conventions for messaging).

    The routing key is not among them: it contains a uid.

    Args:
        size: of the body, in bytes.
    """
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": "process" if operation == "deliver" else "send",
        "messaging.destination.name": exchange,
        "messaging.message.body.size": size,
    }


@contextlib.contextmanager
def _span(current: Tracer, name: str, kind: Any, attributes: dict[str, Any]) -> Iterator[None]:
    # Without the two options, the SDK would export the exception's text.
    with current.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except (ClientError, Disconnect):  # an answer, not a failure
            raise
        except BaseException as error:
            fail(span, error)
            raise


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed by an exception. Only its class is exported; the log has the traceback."""
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", type(error).__qualname__)


# ---- contexts


def current_context() -> Context | None:
    """Return OpenTelemetry's current context, for another greenlet; None unless an SDK is configured."""
    if tracer() is None:
        return None
    from opentelemetry import context

    return context.get_current()


@contextlib.contextmanager
def attached(given: Context | None) -> Iterator[None]:
    """Make a context the current one during the block. Nothing for None."""
    if given is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(given)
    try:
        yield
    finally:
        context.detach(token)
