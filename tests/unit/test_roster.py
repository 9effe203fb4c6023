"""Who may come, and who has to go: with clients that are really connected, while something else happens."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_ws import Gateway, drain, roster, testing
from peatio_ws.connection import Connection

STEP_CLIENTS = 20
"""As many are told at once, at least."""


def chatting(**variables: str) -> Gateway:
    """A gateway with a handler that stays for as long as its client does."""
    gateway = testing.gateway(**variables)

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.send("here")
        ws.receive()

    return gateway


def ends(client: testing.Client) -> int:
    """The code with which a connection has ended, or ends once its client says something."""
    with contextlib.suppress(ConnectionClosed):
        client.send("bye")
    return client.closed()[0]


def status_of(server: testing.Server, path: str = "/", **headers: str) -> int:
    """Of the answer to a handshake."""
    try:
        server.connect(path, **headers)
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101


# ---- a path's `identify` that takes its time


def test_a_limit_holds_while_it_is_asked_who_somebody_is() -> None:
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
        ("", "", 101),  # a proxy that says nothing of whose it is
    ],
)
def test_connections_of_an_address_are_limited_whose_ever_they_can_be(first: str, second: str, status: int) -> None:
    gateway = chatting(WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="1", TRUSTED_PROXIES="127.0.0.1")
    with testing.serve(gateway) as server:
        assert server.connect("/", x_forwarded_for=first).receive() == "here"
        assert status_of(server, x_forwarded_for=second) == status


@pytest.mark.parametrize(
    "leave", [lambda there: there.stand_aside(True), lambda there: there.drain()], ids=["an operator's", "the worker's"]
)
def test_who_was_asked_for_longer_than_a_drain_takes_comes_too_late(leave: Callable[[roster.Roster], None]) -> None:
    gateway = testing.gateway()

    def identify(_environ: dict[str, Any]) -> str:
        leave(gateway._roster)
        return "IDANN"

    gateway.websocket("/", identify=identify)(lambda ws: ws.receive())
    with testing.serve(gateway) as server:
        assert status_of(server) == 503


# ---- the keeper


def test_a_connection_that_cannot_be_looked_at_costs_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = chatting()
    ticked: list[str] = []

    def tick(connection: Connection, _now: float) -> None:
        ticked.append(connection.environ["QUERY_STRING"])
        if ticked[-1] == "broken":
            raise ZeroDivisionError

    with testing.serve(gateway) as server:
        broken, *others = [server.connect(f"/?{name}") for name in ("broken", "a", "b")]
        assert {client.receive() for client in (broken, *others)} == {"here"}
        monkeypatch.setattr(Connection, "tick", tick)
        testing._run(gateway._roster.tick)
        assert {"a", "b", "broken"} <= set(ticked)
        assert broken.closed() == (1006, "")
        assert [ends(client) for client in others] == [1000, 1000]


# ---- an operator's drain


def test_an_undone_drain_leaves_those_who_were_not_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "DRAIN_STEP", 60.0)
    gateway = chatting(WEBSOCKET_DRAIN_SECONDS="120")
    there = gateway._roster

    def begin_and_undo() -> int:
        everybody = list(there)
        there.stand_aside(True)
        assert there.draining
        while not (told := sum(client.ws.closed for client in everybody)):
            gevent.idle()
        there.stand_aside(False)
        return told

    with testing.serve(gateway) as server:
        clients = [server.connect("/") for _ in range(2 * STEP_CLIENTS)]
        assert {client.receive() for client in clients} == {"here"}
        assert testing._run(begin_and_undo) == STEP_CLIENTS
        assert not there.draining
        assert Counter(map(ends, clients)) == {1012: STEP_CLIENTS, 1000: STEP_CLIENTS}
        assert server.connect("/").receive() == "here"


def test_a_second_drain_is_the_first_and_one_undo_ends_both() -> None:
    gateway = chatting()
    there = gateway._roster

    def drain_twice() -> None:
        there.stand_aside(True)
        under_way = there._aside
        there.stand_aside(True)
        assert there._aside is under_way

    with testing.serve(gateway) as server:
        ann = server.connect("/")
        assert ann.receive() == "here"
        testing._run(drain_twice)
        assert ann.closed()[0] == 1012
        assert status_of(server) == 503
        testing._run(lambda: there._aside and there._aside.join(testing.WAIT))
        testing._run(drain_twice)  # after its end, too
        assert status_of(server) == 503
        testing._run(lambda: there.stand_aside(False))
        assert status_of(server) == 101
        assert gateway.problems() == []


def test_who_undoes_a_drain_does_not_keep_a_worker_that_ends() -> None:
    gateway = chatting()

    def end_aside_and_undo() -> list[str]:
        ending = gevent.spawn(gateway.drain)
        gateway._roster.stand_aside(True)
        gevent.idle()
        gateway._roster.stand_aside(False)
        ending.join()
        return gateway.problems()

    with testing.serve(gateway):
        assert testing._run(end_aside_and_undo) == ["draining"]
