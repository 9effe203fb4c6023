"""Limits of connections and drains, with real clients."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any

import gevent
import gevent.event
import pytest

from peatio_ws import testing
from peatio_ws.concurrency import yielding
from peatio_ws.monitoring import metrics
from peatio_ws.server.connections.handler_connection import HandlerConnection
from tests.support.servers import wait_until
from tests.unit.server.served import end_code, status_of, waiting_gateway

# ---- slow `identify` functions


def test_limit_holds_while_identify_runs() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="1")
    asked: list[str] = []
    both = gevent.event.Event()

    def identify(environ: dict[str, Any]) -> str:
        asked.append(environ["PATH_INFO"])
        if len(asked) == 2:
            both.set()
        both.wait()
        return "IDANN"

    gateway.websocket("/", identify=identify)(lambda ws: ws.receive())
    with testing.serve(gateway) as server, concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lambda _: status_of(server), range(2))) == [101, 429]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("192.0.2.1", "192.0.2.1", 429),
        ("192.0.2.1", "192.0.2.2", 101),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 429),  # of one /64
        ("2001:db8::1", "2001:db8:0:1::1", 101),
        ("::ffff:192.0.2.1", "192.0.2.1", 429),
        ("", "", 101),  # a proxy that does not pass on the client's address
    ],
)
def test_connections_are_limited_per_address_if_it_identifies_a_client(first: str, second: str, status: int) -> None:
    gateway = waiting_gateway(WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="1", TRUSTED_PROXIES="127.0.0.1")
    with testing.serve(gateway) as server:
        assert server.connect("/", x_forwarded_for=first).receive() == "here"
        assert status_of(server, x_forwarded_for=second) == status


# ---- ends


@pytest.mark.parametrize(("sent", "code"), [(1011, "1011"), (1000, "1000"), (1001, "other"), (4999, "other")])
def test_close_by_a_client_counts_apart_under_a_known_code(sent: int, code: str) -> None:
    def count(by: str) -> float:
        return float(metrics.closes.labels(by, code)._value.get())

    before = {by: count(by) for by in ("client", "gateway")}
    with testing.serve(waiting_gateway()) as server, server.connect("/") as client:
        assert client.receive() == "here"
        client.connection.close(sent)
        wait_until(lambda: count("client") == before["client"] + 1, "the close is counted")
    assert count("gateway") == before["gateway"]


def test_close_by_the_gateway_counts_for_it() -> None:
    one = metrics.closes.labels("gateway", "1011")
    before = one._value.get()
    gateway = testing.gateway()
    gateway.websocket("/")(lambda _ws: 1 / 0)
    with testing.serve(gateway) as server:
        assert server.connect("/").closed()[0] == 1011
        wait_until(lambda: one._value.get() == before + 1, "the close is counted")


# ---- periodic checks


def test_clients_that_wait_for_a_turn_do_not_delay_the_deadlines_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only while a client is served, or a connection checked: a turn, or a tenth of one."""
    registry = testing.gateway()._registry
    now, clients, served = [100.0], 100, [0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(registry._stats, "add_connection", lambda *_: None)

    def client() -> None:
        while True:
            yielding.let_others_run()
            served[0] += 1
            now[0] += yielding.TURN_SECONDS * 1.1

    class Checked:
        status = ws = None

        def tick(self, _now: float) -> None:
            now[0] += yielding.TURN_SECONDS / 10

    registry._connections.update(Checked() for _ in range(200))  # type: ignore[misc]
    flood = [gevent.spawn(client) for _ in range(clients)]
    with gevent.Timeout(30):
        gevent.sleep(0.01)
        served[0] = 0
        registry.tick()
    gevent.killall(flood)
    assert 0 < served[0] < clients


def test_failing_tick_ends_only_that_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = waiting_gateway()
    ticked: list[str] = []

    def tick(connection: HandlerConnection, _now: float) -> None:
        ticked.append(connection.environ["QUERY_STRING"])
        if ticked[-1] == "broken":
            raise ZeroDivisionError

    with testing.serve(gateway) as server:
        broken, *others = [server.connect(f"/?{name}") for name in ("broken", "a", "b")]
        assert {client.receive() for client in (broken, *others)} == {"here"}
        monkeypatch.setattr(HandlerConnection, "tick", tick)
        testing._run(gateway._registry.tick)
        assert {"a", "b", "broken"} <= set(ticked)
        assert broken.closed() == (1006, "")
        assert [end_code(client) for client in others] == [1000, 1000]
