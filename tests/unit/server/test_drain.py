"""Drains of a worker: by an operator, undone, and at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from peatio_ws import testing
from peatio_ws.server import drain, registry
from tests.unit.server.served import chatting, ends, status_of

STEP_CLIENTS = 20
"""The least number that is notified at once."""


@pytest.mark.parametrize(
    "leave",
    [lambda there: there.set_draining(True), lambda there: there.drain()],
    ids=["an operator's", "the worker's"],
)
def test_identify_that_outlasts_a_drain_is_refused(
    leave: Callable[[registry.ConnectionRegistry], None],
) -> None:
    gateway = testing.gateway()

    def identify(_environ: dict[str, Any]) -> str:
        leave(gateway._registry)
        return "IDANN"

    gateway.websocket("/", identify=identify)(lambda ws: ws.receive())
    with testing.serve(gateway) as server:
        assert status_of(server) == 503


def test_undone_drain_keeps_connections_not_yet_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "DRAIN_STEP", 60.0)
    gateway = chatting(WEBSOCKET_DRAIN_SECONDS="120")
    there = gateway._registry

    def begin_and_undo() -> int:
        everybody = list(there)
        there.set_draining(True)
        assert there.draining
        while not (told := sum(client.ws.closed for client in everybody)):
            gevent.idle()
        there.set_draining(False)
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
    there = gateway._registry

    def drain_twice() -> None:
        there.set_draining(True)
        under_way = there._operator_drain
        there.set_draining(True)
        assert there._operator_drain is under_way

    with testing.serve(gateway) as server:
        ann = server.connect("/")
        assert ann.receive() == "here"
        testing._run(drain_twice)
        assert ann.closed()[0] == 1012
        assert status_of(server) == 503
        testing._run(lambda: there._operator_drain and there._operator_drain.join(testing.WAIT))
        testing._run(drain_twice)  # after its end, too
        assert status_of(server) == 503
        testing._run(lambda: there.set_draining(False))
        assert status_of(server) == 101
        assert gateway.problems() == []


def test_undoing_a_drain_does_not_stop_an_ending_worker() -> None:
    gateway = chatting()

    def end_aside_and_undo() -> list[str]:
        ending = gevent.spawn(gateway.drain)
        gateway._registry.set_draining(True)
        gevent.idle()
        gateway._registry.set_draining(False)
        ending.join()
        return gateway.problems()

    with testing.serve(gateway):
        assert testing._run(end_aside_and_undo) == ["draining"]
