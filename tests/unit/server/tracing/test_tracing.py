"""Which connections a trace shows: those there are and those that come, of both protocols and of handlers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from websockets.exceptions import InvalidStatus

from peatio_ws import Gateway, testing
from peatio_ws.cluster.commands import Answer, TraceCommand, TraceTarget, WorkerId
from peatio_ws.cluster.tracing.messages import MOST_TRACES, read_message
from peatio_ws.server.tracing import trace as module
from peatio_ws.server.tracing import tracing as tracing_module
from peatio_ws.server.tracing.tracing import Tracing
from peatio_ws.server.tracing.watch import Watch
from peatio_ws.transport.decoder import FrameDecoder
from peatio_ws.transport.outbox import Outbox
from tests.support.servers import wait_until

PLACE = WorkerId("host", "host:8080", 1)


class Operator:
    """Traces the connections of a gateway in this process, and keeps the lines."""

    def __init__(self, gateway: Gateway) -> None:
        self._registry = gateway._registry
        self.tracing = gateway._ends.tracing
        self.tracing._publish = self._publish
        self._lock = threading.Lock()
        self._lines: list[tuple[str, dict[str, Any]]] = []

    def _publish(self, channel: str, data: bytes) -> int:
        message = read_message(data)
        assert message is not None
        with self._lock:
            self._lines += [(channel.rpartition(":")[2], json.loads(bytes(line))) for line in message.lines]
        return 1

    def send(self, number: int, seconds: float = 60, bodies: bool = False, **target: str) -> list[Answer]:
        command = TraceCommand(f"{number:016x}", TraceTarget(**target), bodies, seconds)
        found: list[Answer] = testing._run(lambda: list(self.tracing.execute(command, PLACE, self._registry)))
        return found

    def lines(self, number: int = 1) -> list[dict[str, Any]]:
        with self._lock:
            return [line for question, line in self._lines if question == f"{number:016x}"]

    def kinds(self, number: int = 1) -> list[str]:
        return [line["kind"] for line in self.lines(number)]

    def until(self, kind: str, number: int = 1, count: int = 1) -> list[dict[str, Any]]:
        """Wait for lines of a kind, and return them."""
        wait_until(lambda: self.kinds(number).count(kind) >= count, f"{count} of {kind} in {self.kinds(number)}")
        return [line for line in self.lines(number) if line["kind"] == kind]

    def ended(self) -> bool:
        return not self.tracing._traces and not self.tracing._watches


@pytest.fixture
def gateway() -> Gateway:
    made = testing.gateway()

    @made.websocket("/handler", identify=lambda environ: environ.get("HTTP_COOKIE"))
    def handler(ws: Any) -> None:
        for message in ws:
            with contextlib.suppress(Exception):
                if message.startswith("ey"):
                    ws.authenticate(message)
                else:
                    ws.subscribe(message)
            ws.send(f"done {message[:10]}")

    @made.on("greet")
    def greet(session: Any, message: Any) -> None:
        session.reply({"greeting": message["name"]})

    return made


@pytest.fixture
def operator(gateway: Gateway) -> Iterator[Operator]:
    made = Operator(gateway)
    yield made
    testing._run(made.tracing.stop)
    assert made.ended()


def test_without_a_trace_a_connection_is_untouched(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        server.member("IDANN")
        (connection,) = gateway._registry
        assert (type(connection.ws.outbox), type(connection.ws.inbox.decoder)) == (Outbox, FrameDecoder)
        operator.send(1, uid="IDBOB")
        server.member("IDANN")
        assert {type(one.ws.outbox) for one in gateway._registry} == {Outbox}
        assert operator.kinds() == []


def test_member_is_shown_from_the_token_on(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        old = server.member("IDANN")
        assert operator.send(1, uid="IDANN") == [Answer(PLACE, 1)]
        new = server.member("IDANN")
        server.member("IDBOB")
        ranger = server.connect("/private?stream=order", token=server.token("IDANN"))
        assert "success" in ranger.json()
        server.publisher.to_member("IDANN", "order", {"id": 5, "market": "btcusd", "state": "wait"})
        sizes = [len(client.receive()) for client in (old, new, ranger)]
        delivered = operator.until("delivered", count=3)
        assert sorted(one["bytes"] for one in delivered) == sorted(sizes)
        assert operator.kinds()[:4] == ["connection", "connection", "authenticated", "sent"]
        assert operator.kinds().count("opened") == 1
        assert len({line["connection"] for line in operator.lines()}) == 3


def test_handlers_connections_are_shown(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        operator.send(1, uid="IDANN")
        client = server.connect("/handler")
        client.send(server.token("IDANN"))
        client.receive()
        client.send("btcusd.trades")
        client.receive()
        server.publisher.to_stream("btcusd.trades", {"trades": []})
        assert "btcusd.trades" in client.json()
        client.close()
        (closed,) = operator.until("closed")
        assert (closed["code"], closed["by"]) == (1000, "client")
        assert [line["kind"] for line in operator.lines()] == [
            "connection", "authenticated", "sent", "received", "subscribed", "sent", "delivered", "closed"
        ]  # fmt: skip
        by_cookie = server.connect("/handler", cookie="IDANN")
        (opened,) = operator.until("opened")
        assert (opened["protocol"], opened["uid"]) == ("handler", "IDANN")
        by_cookie.close()


def test_refused_tokens_are_shown_by_address(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        operator.send(1, address="127.0.0.1")
        operator.send(2, address="192.0.2.1")
        client = server.connect()
        client.json()
        client.send({"jwt": "Bearer nonsense"})
        assert "error" in client.json()
        (by_message,) = operator.until("refused")
        assert (by_message["what"], by_message["address"]) == ("token", "127.0.0.1")
        assert by_message["connection"] == operator.until("opened")[0]["connection"]
        with pytest.raises(InvalidStatus):
            server.connect("/private", token="nonsense")
        *_, by_request = operator.until("refused", count=3)
        assert (by_request["what"], by_request["status"]) == ("request", 401)
        assert operator.kinds(2) == []


def test_refused_tokens_of_a_traced_connection_are_shown(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        client = server.member("IDANN")
        operator.send(1, uid="IDANN")
        (name,) = [one["connection"] for one in operator.until("connection")]
        operator.send(2, connection=name)
        client.send({"jwt": "Bearer nonsense"})
        client.json()
        for number in (1, 2):
            (refused,) = operator.until("refused", number)
            assert refused["connection"] == name


def test_replies_of_handlers_of_events_are_shown(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        operator.send(1, bodies=True, address="127.0.0.1")
        client = server.connect("/public")
        client.json()
        client.send({"event": "greet", "name": "Ann"})
        client.json()
        operator.until("sent", count=2)
        assert [(line["what"], line["body"]) for line in operator.lines() if line["kind"] in ("sent", "received")] == [
            ("success", '{"success":{"message":"subscribed","streams":[]}}'),
            ("greet", '{"event": "greet", "name": "Ann"}'),
            ("greeting", '{"greeting":"Ann"}'),
        ]


def test_traces_of_one_connection_end_separately(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        client = server.member("IDANN")
        operator.send(1, uid="IDANN")
        operator.send(2, address="127.0.0.1")
        assert operator.send(2, seconds=0) == []
        wait_until(lambda: len(operator.tracing._traces) == 1, "the second trace has ended")
        client.send({"event": "subscribe", "streams": ["a.trades"]})
        client.json()
        operator.until("subscribed")
        assert "subscribed" not in operator.kinds(2)
        operator.send(1, seconds=0)
        wait_until(operator.ended, "both have ended")
        (connection,) = gateway._registry
        assert (type(connection.ws.outbox), type(connection.ws.inbox.decoder)) == (Outbox, FrameDecoder)


def test_repeated_command_continues_the_trace(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        server.member("IDANN")
        assert operator.send(1, uid="IDANN") == [Answer(PLACE, 1)]
        assert operator.send(1, uid="IDANN") == []
        assert operator.send(7, seconds=0, uid="IDANN") == [], "the end of an unknown trace began one"
        operator.until("connection")
        assert operator.kinds() == ["connection"]


def test_a_trace_too_many_is_refused(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway):
        for number in range(MOST_TRACES):
            assert operator.send(number, uid="IDANN") == [Answer(PLACE, 0)]
        assert operator.send(MOST_TRACES, uid="IDANN") == [Answer(PLACE, 0, meant=False)]
        operator.send(0, seconds=0)
        wait_until(lambda: len(operator.tracing._traces) < MOST_TRACES, "one has ended")
        assert operator.send(MOST_TRACES, uid="IDANN") == [Answer(PLACE, 0)]


def test_connections_over_the_limit_are_counted(
    gateway: Gateway, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing_module, "MOST_CONNECTIONS", 2)
    with testing.serve(gateway) as server:
        first, *_ = [server.member("IDANN") for _ in range(3)]
        assert operator.send(1, uid="IDANN") == [Answer(PLACE, 2)]
        server.member("IDANN")
        wait_until(lambda: sum(line.get("connections", 0) for line in operator.lines()) == 2, "both are counted")
        first.close()
        for client in [server.member("IDANN") for _ in range(2)]:
            client.close()
        assert operator.kinds().count("connection") <= 4


def test_worker_that_exits_reports_the_end_of_its_connections(
    gateway: Gateway, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3600.0)  # the lines wait for the end
    with testing.serve(gateway) as server:
        client = server.member("IDANN")
        operator.send(1, uid="IDANN")
        testing._run(gateway.drain)
        assert client.closed()[0] == 1012
        testing._run(operator.tracing.stop)
    (closed,) = operator.until("closed")
    assert (closed["code"], closed["by"]) == (1012, "gateway")


def test_failed_trace_frees_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError

    tracing = Tracing(fail)
    list(tracing.execute(TraceCommand("0" * 16, TraceTarget(uid="ANN"), seconds=60), PLACE, []))
    gevent.joinall(tracing._greenlets, timeout=10, raise_error=False)
    assert not tracing._traces


def test_refusals_without_a_trace_cost_nothing() -> None:
    tracing = Tracing(lambda *_: None)
    tracing.on_refused("token", "c1", "192.0.2.1", "expired")
    for report in (tracing.on_opened, tracing.on_authenticated, tracing.on_closed):
        report(SimpleNamespace())  # type: ignore[arg-type]  # nothing of it is used


@pytest.mark.parametrize("broken", ["introduce", "look", "report_closed"])
def test_failure_of_a_trace_does_not_reach_the_connection(
    gateway: Gateway, operator: Operator, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with testing.serve(gateway) as server:
        operator.send(1, uid="IDANN")
        monkeypatch.setattr(Watch, broken, fail)
        client = server.member("IDANN")
        server.publisher.to_member("IDANN", "order", {"id": 5, "market": "btcusd", "state": "wait"})
        assert "orderbook" in client.json()
        client.close()
        wait_until(lambda: [one.code for one in gateway._ends.closes] == [1000], "the connection has ended")
        monkeypatch.undo()


def test_command_of_an_operator_begins_a_trace(gateway: Gateway, operator: Operator) -> None:
    with testing.serve(gateway) as server:
        server.member("IDANN")
        command = TraceCommand("f" * 16, TraceTarget(uid="IDANN"), seconds=60)
        (answer,) = testing._run(lambda: gateway.execute(command))
        assert (answer.connections, answer.meant) == (1, True)
