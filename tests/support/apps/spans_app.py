"""A gateway whose handlers make spans of their own."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from peatio_ws import ClientError, Gateway, in_thread

application = gateway = Gateway.from_env()
tracer = trace.get_tracer("spans_app")


@gateway.on("push")
def push(session: Any, message: dict[str, Any]) -> None:
    with tracer.start_as_current_span("work"):
        pass
    in_thread(compute)
    gateway.publisher.to_stream("pushed.trades", message["body"])
    session.reply({"pushed": True})


def compute() -> None:
    with tracer.start_as_current_span("in a thread"):
        pass


@gateway.on("fail")
def fail(session: Any, message: dict[str, Any]) -> None:
    raise LookupError("only the log should know")


@gateway.on("refuse")
def refuse(session: Any, message: dict[str, Any]) -> None:
    raise ClientError("no")


@gateway.websocket("/ends")
def ends(ws: Any) -> None:
    for _ in ws:
        with tracer.start_as_current_span("said"):
            pass
