"""The answer to `GET /api/trace`: the lines of a trace, as newline-delimited JSON, as they come.

Not server-sent events: a browser's EventSource cannot send the `Authorization` header. Knows Redis only through the
`Operator`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import msgspec

from peatio_ws.cluster.commands import TraceTarget
from peatio_ws.cluster.operator import Operator, TooManyTraces
from peatio_ws.cluster.tracing.messages import MOST_SECONDS, MOST_TRACES
from peatio_ws.server.operator_port.response import Response

KIND: Final = "application/x-ndjson"
DEFAULT_SECONDS: Final = 600.0
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
_TARGETS: Final = ("uid", "address", "connection")

Connect = Callable[[], AbstractContextManager[Operator]]


class TraceQuery(NamedTuple):
    """What a request asks for; see `Operator.trace`."""

    target: TraceTarget
    seconds: float
    bodies: bool


def read_query(query: bytes) -> TraceQuery:
    """Read the query of a request. Raises ValueError, which says what is wrong."""
    found = parse_qs(query.decode(errors="replace"), keep_blank_values=True, max_num_fields=20)
    given = {name: values[-1] for name, values in found.items()}
    if unknown := sorted(given.keys() - {*_TARGETS, "seconds", "bodies"}):
        raise ValueError(f"the query has an unknown field: {unknown[0][:64]}")
    target = {name: given[name] for name in _TARGETS if name in given}
    if len(target) != 1:
        raise ValueError("use one of uid, address and connection")
    bodies = _FLAGS.get(given.get("bodies", "false"))
    if bodies is None:
        raise ValueError("bodies is true or false")
    try:
        seconds = float(given.get("seconds", DEFAULT_SECONDS))
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MOST_SECONDS:
        raise ValueError(f"seconds is a number from 1 to {MOST_SECONDS}")
    return TraceQuery(TraceTarget(**target), seconds, bodies)


class TraceStreams:
    """The traces that one worker answers; at most `MOST_TRACES` at a time."""

    def __init__(self) -> None:
        self._open = 0

    def answer(self, connect: Connect, query: bytes) -> Response:
        """Begin a trace, and answer with its lines.

        Raises:
            ValueError, ConnectionError, TooManyTraces: what is wrong, before the answer begins.
        """
        if self._open >= MOST_TRACES:
            raise TooManyTraces(f"this worker answers {MOST_TRACES} traces already; end one of them first")
        lines = parts(connect, read_query(query))
        return Response("200 OK", kind=KIND, parts=self._count(next(lines), lines))

    def _count(self, first: bytes, rest: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Return the parts of an answer, which counts until it is closed."""
        self._open += 1
        try:
            with contextlib.closing(rest):
                yield first
                yield from rest
        finally:
            self._open -= 1


def parts(connect: Connect, query: TraceQuery) -> Generator[bytes, None, None]:
    """Begin a trace, and return its lines. Closing the generator ends it on all workers.

    Args:
        connect: opens a connection to Redis. Raises ConnectionError if there is none.
    """
    with connect() as operator:
        result, reader = operator.trace(*query)
        with contextlib.closing(reader):
            if not result.workers:
                raise ConnectionError("no gateway received the command; are they connected to this Redis?")
            for line in reader.lines():
                yield msgspec.json.encode(line) + b"\n"
