"""One traced connection: which lines its frames become, and that no failure of a trace reaches it."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.cluster.commands import TraceCommand, TraceTarget, WorkerId
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.protocol import encoding
from peatio_ws.server.tracing import descriptions
from peatio_ws.server.tracing.trace import Trace
from peatio_ws.server.tracing.watch import BUSY_SECONDS, Budget, Watch
from peatio_ws.transport.decoder import Ending, FrameDecoder
from peatio_ws.transport.frames import PING, text_frame
from peatio_ws.transport.outbox import Outbox, flush_all, put_all
from tests.support.raw_client import CLOSE, PONG, close, frame, text
from tests.support.raw_client import PING as PING_OPCODE
from tests.unit.samples import Wire

ANN = Identity("ANN", None, "member", 1e10, "jti")


class Socket:
    """The part of a WebSocket that a trace looks at."""

    id = "c1"
    received = 2

    def __init__(self, outbox: Outbox, decoder: FrameDecoder) -> None:
        self.outbox, self.opened = outbox, time.monotonic()
        self.inbox = SimpleNamespace(decoder=decoder, received_bytes=40)

    @property
    def ending(self) -> Ending:
        ending: Ending = self.inbox.decoder.ending(self.outbox.closing, self.outbox.reason)
        return ending


class Connection:
    """A connection without a socket.

    Attributes:
        wire: what the client has received.
    """

    address = "203.0.113.7"

    def __init__(self, takes: Any = lambda offered: offered, limit: int = 10_000) -> None:
        self.wire = Wire(takes)
        outbox, decoder = Outbox(self.wire, limit, 60.0), FrameDecoder(10_000)  # type: ignore[arg-type]
        self.ws: Any = Socket(outbox, decoder)
        self.streams: list[str] = []
        self.identity: Identity | None = None
        self.protocol, self.replaying = "ranger", False

    @property
    def status(self) -> ConnectionStatus:
        uid = self.identity.uid if self.identity is not None else None
        return ConnectionStatus(self.protocol, False, len(self.streams), uid, self.replaying)


class Recorded(Trace):
    """A trace that keeps its lines."""

    def __init__(self, bodies: bool = False) -> None:
        command = TraceCommand("0123456789abcdef", TraceTarget(connection="c1"), bodies, 60)
        super().__init__(command, WorkerId("host", "host:8080", 1), lambda *_: 1, lambda: None)

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [line for line, _ in self._lines]

    @property
    def kinds(self) -> list[str]:
        return [line["kind"] for line in self.seen]


def watched(connection: Connection, *traces: Trace, seen: str = "open", budget: Budget | None = None) -> Watch:
    watch = Watch(connection, seen, budget or Budget())
    for trace in traces:
        watch.introduce(trace, seen == "opened")
    return watch


def test_open_connection_introduces_itself() -> None:
    connection, trace = Connection(), Recorded()
    connection.identity, connection.streams = ANN, ["order"]
    watched(connection, trace)
    (line,) = trace.seen
    assert {name: line[name] for name in ("kind", "connection", "uid", "address", "protocol", "streams")} == {
        "kind": "connection",
        "connection": "c1",
        "uid": "ANN",
        "address": "203.0.113.7",
        "protocol": "ranger",
        "streams": ["order"],
    }


def test_streams_of_the_request_are_shown_as_subscribed() -> None:
    connection, trace = Connection(), Recorded()
    connection.streams = ["order"]
    watch = watched(connection, trace, seen="opened")
    watch.look()
    assert trace.kinds == ["opened", "subscribed"]


def test_deliveries_of_all_ways_become_lines_in_order() -> None:
    connection, trace = Connection(), Recorded()
    connection.streams = ["order"]
    watched(connection, trace)
    outbox = connection.ws.outbox
    frames = [text_frame(encoding.stream_event("a.trades", b"%d" % number)) for number in range(5)]
    put_all(frames[0], [outbox], [])
    put_all(frames[1], [outbox], [])
    flush_all([outbox])
    put_all(frames[2], [outbox], [])
    flush_all([outbox])
    outbox.put(frames[3])
    outbox.flush()
    outbox.send(frames[4])
    outbox.send(PING)
    outbox.send_text(b"pong")
    assert connection.wire.taken == b"".join(frames) + PING + text_frame(b"pong")
    assert trace.kinds == ["connection", *["delivered"] * 5, "ping", "sent"]
    assert {line["bytes"] for line in trace.seen if line["kind"] == "delivered"} == {14}


def test_waiting_bytes_are_those_after_the_delivery() -> None:
    connection, trace = Connection(lambda offered: 0), Recorded()
    watch = watched(connection, trace)
    for _ in range(2):
        connection.ws.outbox.send(text_frame(b'{"a.trades":1}'))
    assert [line["waiting"] for line in trace.seen] == [0, 16, 32]
    connection.ws.outbox.size = 5
    watch.look()
    watch.look()
    assert [line["waiting"] for line in trace.seen if line["kind"] == "waiting"] == [5]
    connection.ws.outbox.abort()


def test_what_the_outbox_drops_is_not_delivered() -> None:
    connection, trace = Connection(lambda offered: 0, limit=40), Recorded()
    watch = watched(connection, trace)
    for _ in range(4):
        connection.ws.outbox.send(text_frame(b'{"a.trades":1}'))
    watch.report_closed()
    assert trace.kinds == ["connection", "delivered", "delivered", "closed"]
    assert (trace.seen[-1]["code"], trace.seen[-1]["by"]) == (4413, "gateway")
    assert trace.seen[-1]["reason"] == "too slow: more than 40 bytes waiting"
    connection.ws.outbox.abort()


def test_end_by_the_client_has_its_reason() -> None:
    connection, trace = Connection(), Recorded()
    watch = watched(connection, trace)
    connection.ws.inbox.decoder.receive(close(4000, "enough"))
    for chunk in connection.ws.inbox.decoder.data_to_send():
        connection.ws.outbox.send(chunk)
    watch.report_closed()
    assert {"by": "client", "reason": "enough", "messages": 2, "bytes_received": 40}.items() <= trace.seen[-1].items()
    assert connection.wire.taken[0] == 0x80 | CLOSE


def test_cut_connection_was_closed_by_nobody() -> None:
    connection, trace = Connection(), Recorded()
    watched(connection, trace).report_closed()
    assert (trace.seen[-1]["by"], trace.seen[-1]["reason"]) == ("nobody", "")


def test_pongs_have_the_time_since_the_ping() -> None:
    connection, trace = Connection(), Recorded()
    watched(connection, trace)
    connection.ws.outbox.send(PING)
    connection.ws.inbox.decoder.receive(frame(PONG, b"") + frame(PONG, b"") + frame(PING_OPCODE, b"1"))
    ping, first, second, by_client = trace.seen[1:]
    assert (ping["kind"], ping["by"]) == ("ping", "gateway")
    assert (first["kind"], first["by"]) == ("pong", "client")
    assert first["milliseconds"] >= 0
    assert "milliseconds" not in second
    assert (by_client["kind"], by_client["by"]) == ("ping", "client")


def test_changes_are_shown_before_what_follows_from_them() -> None:
    connection, trace = Connection(), Recorded()
    watched(connection, trace)
    connection.ws.inbox.decoder.receive(text('{"event":"subscribe","streams":["a.trades"]}'))
    connection.streams.append("a.trades")
    connection.ws.outbox.send_text(encoding.subscribed(connection.streams))
    connection.identity = ANN
    connection.streams.remove("a.trades")
    connection.ws.outbox.send_text(encoding.unsubscribed([]))
    assert trace.kinds == ["connection", "received", "subscribed", "sent", "authenticated", "unsubscribed", "sent"]
    assert [line["streams"] for line in trace.seen if "streams" in line] == [[], ["a.trades"], ["a.trades"]]


def test_member_that_has_just_authenticated_is_shown_so() -> None:
    connection, trace = Connection(), Recorded()
    connection.identity = ANN
    watched(connection, trace, seen="authenticated").look()
    assert trace.kinds == ["connection", "authenticated"]
    connection.identity = Identity("ANN", 7, "member", 1e10, "jti")  # its member id is known now
    connection.ws.outbox.send_text(b"pong")
    assert trace.kinds == ["connection", "authenticated", "sent"]


def test_replayed_events_are_marked() -> None:
    connection, trace = Connection(), Recorded()
    connection.streams = ["order"]
    watched(connection, trace)
    for replaying in (True, False):
        connection.replaying = replaying
        connection.ws.outbox.send_text(encoding.with_cursor(b'{"order":{}}', "c"))
    assert [line.get("replayed") for line in trace.seen[1:]] == [True, None]
    connection.ws.outbox.send_text(encoding.resumed(encoding.AUTHENTICATED, "c", True))
    assert trace.kinds[-2:] == ["sent", "resumed"]


def test_only_traces_with_bodies_get_them() -> None:
    connection, short, whole = Connection(), Recorded(), Recorded(bodies=True)
    watched(connection, short, whole)
    connection.ws.inbox.decoder.receive(text("hello") + text({"jwt": "Bearer opaque"}))
    connection.ws.outbox.send_text(b'{"a.trades":1}')
    assert [line.get("body") for line in whole.seen[1:]] == ["hello", None, '{"a.trades":1}']
    assert all("body" not in line for line in short.seen)
    assert "opaque" not in json.dumps(whole.seen)
    assert short.kinds == whole.kinds


def test_spent_budget_leaves_out_lines_and_counts_them() -> None:
    connection, trace = Connection(), Recorded()
    watched(connection, trace, budget=Spent())
    connection.ws.outbox.send(text_frame(b"{}") + text_frame(b"{}"))
    connection.ws.inbox.decoder.receive(text("hello"))
    assert trace.kinds == ["connection"]
    assert trace._left_out["lines"] == 3
    assert connection.wire.taken == 2 * text_frame(b"{}")


class Spent(Budget):
    """A budget of which nothing is left."""

    @property
    def spent(self) -> bool:
        return True


def test_budget_is_for_each_second() -> None:
    budget = Budget()
    assert not budget.spent
    budget.use(2 * BUSY_SECONDS)
    budget._second -= 1
    assert not budget.spent


def test_failure_of_a_trace_ends_only_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, trace = Connection(), Recorded()
    watched(connection, trace)

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(descriptions, "frames_in", fail)
    with structlog.testing.capture_logs() as logged:
        connection.ws.outbox.send(text_frame(b"{}"))
        connection.ws.outbox.send(text_frame(b"{}"))
    assert connection.wire.taken == 2 * text_frame(b"{}")
    assert [line["event"] for line in logged] == ["trace failed"]
    assert type(connection.ws.outbox) is Outbox


def test_connection_is_as_before_in_the_end() -> None:
    connection, trace = Connection(), Recorded()
    watch = watched(connection, trace)
    watch.end()
    watch.end()
    connection.ws.outbox.send_text(b"pong")
    connection.ws.inbox.decoder.receive(text("hello"))
    assert trace.kinds == ["connection"]
    assert (type(connection.ws.outbox), type(connection.ws.inbox.decoder)) == (Outbox, FrameDecoder)
