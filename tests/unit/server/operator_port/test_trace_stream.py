"""The answer to a request for a trace: lines as they come, and the end of the trace with the answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import msgspec
import pytest

from peatio_ws.cluster import operator
from peatio_ws.cluster.commands import TraceCommand, TraceTarget
from peatio_ws.cluster.operator import Operator
from peatio_ws.cluster.tracing.messages import TraceMessage, line
from peatio_ws.server.operator_port import trace_stream
from peatio_ws.server.operator_port.trace_stream import TraceQuery, read_query
from tests.unit.steered_workers import SteeredWorkers

ANN = TraceTarget(uid="ANN")


@pytest.mark.parametrize(
    ("query", "target", "seconds", "bodies"),
    [
        ("uid=ANN", ANN, 600.0, False),
        ("address=2001%3Adb8%3A%3A1&seconds=1", TraceTarget(address="2001:db8::1"), 1.0, False),
        ("connection=c1&bodies=true&seconds=3600", TraceTarget(connection="c1"), 3600.0, True),
        ("uid=Zo%C3%AB&bodies=0", TraceTarget(uid="Zoë"), 600.0, False),
        ("uid=BOB&uid=ANN", ANN, 600.0, False),
    ],
)
def test_query_names_what_is_traced(query: str, target: TraceTarget, seconds: float, bodies: bool) -> None:
    assert read_query(query.encode()) == TraceQuery(target, seconds, bodies)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "use one of"),
        ("uid=A&connection=c", "use one of"),
        ("uid=A&seconds=0.5", "seconds"),
        ("uid=A&seconds=3601", "seconds"),
        ("uid=A&seconds=inf", "seconds"),
        ("uid=A&seconds=nan", "seconds"),
        ("uid=A&seconds=", "seconds"),
        ("uid=A&bodies=yes", "bodies"),
        ("uid=A&body=true", "unknown field: body"),
        ("&".join(f"f{number}=1" for number in range(30)), "fields"),
    ],
)
def test_invalid_query_is_an_error_that_names_the_field(query: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_query(query.encode())


@contextlib.contextmanager
def connect() -> Iterator[Operator]:
    with operator.connected("redis://localhost") as connected:
        yield connected


def test_lines_come_one_after_the_other_and_closing_ends_the_trace(workers: SteeredWorkers) -> None:
    place = workers.add()
    delivered = msgspec.Raw(msgspec.json.encode(line("delivered", 0.0, connection="c1", stream="ä")))
    workers.reports.append(msgspec.json.encode(TraceMessage(place, "r", 0, [delivered])))
    parts = trace_stream.parts(connect, TraceQuery(ANN, 600, False))
    assert json.loads(next(parts))["kind"] == "begin"
    second = next(parts)
    assert second.endswith(b"\n")
    assert json.loads(second)["stream"] == "ä"
    parts.close()
    last = workers.received[-1]
    assert isinstance(last, TraceCommand)
    assert last.seconds == 0
    assert workers.closed


def test_without_a_gateway_there_is_no_answer_to_read(workers: SteeredWorkers) -> None:
    with pytest.raises(ConnectionError, match="no gateway received the command"):
        next(trace_stream.parts(connect, TraceQuery(ANN, 600, False)))
