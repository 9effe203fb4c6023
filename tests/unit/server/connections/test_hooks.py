"""Hooks: when they are called, in which order, and what their failures do."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from peatio_ws import Gateway, testing
from peatio_ws.monitoring import metrics
from peatio_ws.server.connections import hooks
from peatio_ws.server.connections.hooks import ConnectionInfo
from tests.support.servers import wait_until


@pytest.fixture
def seen() -> list[tuple[str, ConnectionInfo]]:
    return []


@pytest.fixture
def gateway(seen: list[tuple[str, ConnectionInfo]]) -> Gateway:
    made = testing.gateway()
    made.on_connect(lambda info: seen.append(("opened", info)))
    made.on_disconnect(lambda info: seen.append(("ended", info)))

    @made.websocket("/echo")
    def echo(ws: Any) -> None:
        for message in ws:
            ws.send(message)

    return made


def test_hooks_are_called_for_every_kind_of_connection(
    gateway: Gateway, seen: list[tuple[str, ConnectionInfo]]
) -> None:
    with testing.serve(gateway) as server:
        public, member = server.connect("/public?stream=btcusd.trades"), server.member("IDANN")
        echo = server.connect("/echo", token=server.token("IDBOB"))
        public.receive()
        wait_until(lambda: len(seen) == 3, "all have opened")
        for client in (public, member, echo):
            client.close()
        wait_until(lambda: len(seen) == 6, "all have ended")
    opened, ended = ([info for kind, info in seen if kind == wanted] for wanted in ("opened", "ended"))
    assert sorted(info.protocol for info in opened) == ["classic", "handler", "ranger"]
    assert {info.code for info in opened} == {None}
    assert {info.id for info in opened} == {info.id for info in ended}
    members = {info.protocol: info.member.uid if info.member is not None else None for info in ended}
    assert members == {"classic": "IDANN", "ranger": None, "handler": "IDBOB"}
    assert {info.code for info in ended} == {1000}
    assert all(info.address == "127.0.0.1" and info.seconds >= 0 for info in ended)


def test_hook_that_waits_delays_no_client_but_the_end_of_its_connection(gateway: Gateway) -> None:
    order: list[str] = []
    go = testing._run(gevent.event.Event)

    @gateway.on_connect
    def wait(_info: ConnectionInfo) -> None:
        go.wait()
        order.append("opened")

    @gateway.on_disconnect
    def end(_info: ConnectionInfo) -> None:
        order.append("ended")

    with testing.serve(gateway) as server:
        client = server.connect("/echo")
        client.send("text")
        assert client.receive() == "text"
        client.close()
        wait_until(lambda: len(gateway._registry) == 0, "the connection has ended")
        assert order == []
        testing._run(go.set)
        wait_until(lambda: order == ["opened", "ended"], "in the order of the connection")
        wait_until(lambda: not gateway._hooks._running, "nothing is kept")


def test_failing_hook_harms_neither_hooks_nor_clients(gateway: Gateway, seen: list[tuple[str, ConnectionInfo]]) -> None:
    @gateway.on_disconnect
    def fails(_info: ConnectionInfo) -> None:
        raise SystemExit("no")

    after: list[ConnectionInfo] = []
    gateway.on_disconnect(after.append)
    counter = metrics.handler_failures.labels(fails.__qualname__)
    before = counter._value.get()
    with testing.serve(gateway) as server:
        server.connect("/echo").close()
        wait_until(lambda: len(after) == 1, "the next hook is called")
        assert counter._value.get() == before + 1
        other = server.connect("/echo")
        other.send("text")
        assert other.receive() == "text"


def test_calls_are_bounded(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "MOST_RUNNING", 2)
    began: list[str] = []
    go = testing._run(gevent.event.Event)

    @gateway.on_connect
    def wait(info: ConnectionInfo) -> None:
        began.append(info.id)
        go.wait()

    with testing.serve(gateway) as server:
        clients = [server.connect("/echo") for _ in range(4)]
        for client in clients:
            client.send("text")
            assert client.receive() == "text"
        assert len(began) == 2
        testing._run(go.set)


def test_server_that_ends_stays_connected_until_hooks_have_returned(gateway: Gateway) -> None:
    """So that they can publish. One of them begins late, because another one takes long."""
    go, began, problems = testing._run(gevent.event.Event), list[bool](), list[list[str]]()

    @gateway.on_connect
    def takes_long(_info: ConnectionInfo) -> None:
        go.wait()

    @gateway.on_disconnect
    def works(_info: ConnectionInfo) -> None:
        began.append(True)
        gevent.sleep(0.05)
        problems.append(gateway.problems())

    with testing.serve(gateway) as server:
        server.connect("/echo").close()
        wait_until(lambda: len(gateway._registry) == 0, "the connection has ended")
        testing._run(go.set)
        wait_until(lambda: bool(began), "it is called")
    assert problems == [[]]


def test_server_that_ends_waits_for_hooks(gateway: Gateway, seen: list[tuple[str, ConnectionInfo]]) -> None:
    with testing.serve(gateway) as server:
        server.connect("/echo")
        wait_until(lambda: len(seen) == 1, "it has opened")
    assert [kind for kind, _ in seen] == ["opened", "ended"]


def test_call_of_a_hook_is_a_span(exported: InMemorySpanExporter) -> None:
    gateway = testing.gateway()

    @gateway.on_disconnect
    def ended(_info: ConnectionInfo) -> None: ...

    with testing.serve(gateway) as server:
        server.connect("/public?stream=global.tickers").close()
        wait_until(lambda: len(exported.get_finished_spans()) == 1, "the hook has returned")
    (span,) = exported.get_finished_spans()
    assert span.name == f"handle {ended.__qualname__}"
