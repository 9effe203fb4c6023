"""Drains of a worker: by an operator, undone, and at its exit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.event
import pytest

from peatio_ws import testing
from peatio_ws.server import drain, registry
from peatio_ws.transport.outbox import CLOSE_SECONDS
from tests.unit.server.served import end_code, status_of, waiting_gateway

STEP_CLIENTS = 20
"""Number of clients that are notified at once."""


@pytest.mark.parametrize(
    "leave",
    [lambda there: there.set_draining(True), lambda there: there.drain()],
    ids=["an operator's", "the worker's"],
)
def test_upgrade_whose_identify_outlasts_a_drain_is_refused(
    leave: Callable[[registry.ConnectionRegistry], None],
) -> None:
    gateway = testing.gateway()

    def identify(_environ: dict[str, Any]) -> str:
        leave(gateway._registry)
        return "IDANN"

    gateway.websocket("/", identify=identify)(lambda ws: ws.receive())
    with testing.serve(gateway) as server:
        assert status_of(server) == 503


@pytest.mark.parametrize("path", ["/classic", "/public?stream=a.b"])
def test_client_whose_request_outlasts_the_drain_of_a_worker_is_asked_to_come_back(path: str) -> None:
    """Such as one that middleware of the application delays: the worker is about to exit."""
    gateway = waiting_gateway()
    with testing.serve(gateway) as server:
        testing._run(gateway.drain)
        code, reason = server.connect(path).closed()
        assert (code, reason.partition(";")[0]) == (1012, "restart")


def test_second_drain_does_not_wait_for_each_connection_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of handlers that do not return. The worker has 12 s besides the time of one drain."""
    began = now = 100.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Stuck:
        ws = SimpleNamespace(outbox=SimpleNamespace(closing=1012, close=lambda *_: None, abort=lambda: None))

        def send_cursor(self) -> None:
            pass

    monkeypatch.setattr(drain, "gevent", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(drain, "time", SimpleNamespace(monotonic=lambda: now))
    stuck: list[Any] = [Stuck() for _ in range(1000)]
    drain.Drain(stuck, seconds=30.0).run()
    assert now - began <= CLOSE_SECONDS + 2 * drain.DRAIN_STEP


def test_drain_of_a_busy_worker_takes_no_longer_than_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn kills a worker 12 s after this time, and its last clients would get no close frame."""
    began = now = 100.0
    closed: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds + 0.02  # by which the event loop is late

    class Leaving:
        def __init__(self) -> None:
            self.ws = SimpleNamespace(outbox=SimpleNamespace(closing=0, close=self.close))

        def send_cursor(self) -> None:
            pass

        def close(self, *_: object) -> None:
            there.discard(self)
            closed.append(now - began)

    monkeypatch.setattr(drain, "gevent", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(drain, "time", SimpleNamespace(monotonic=lambda: now))
    there: set[Any] = {Leaving() for _ in range(2_400)}
    drain.Drain(there, seconds=12.0).run()
    assert len(closed) == 2_400
    assert 11 < closed[-1] < 12.5
    assert now - began < 12.5


def test_undone_drain_keeps_connections_not_yet_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "DRAIN_STEP", 60.0)
    gateway = waiting_gateway(WEBSOCKET_DRAIN_SECONDS="120")
    there = gateway._registry

    def begin_and_undo() -> int:
        everybody = list(there)
        there.set_draining(True)
        assert there.draining
        while not (closed := sum(client.ws.closed for client in everybody)):
            gevent.idle()
        there.set_draining(False)
        return closed

    with testing.serve(gateway) as server:
        clients = [server.connect("/") for _ in range(2 * STEP_CLIENTS)]
        assert {client.receive() for client in clients} == {"here"}
        assert testing._run(begin_and_undo) == STEP_CLIENTS
        assert not there.draining
        assert Counter(map(end_code, clients)) == {1012: STEP_CLIENTS, 1000: STEP_CLIENTS}
        assert server.connect("/").receive() == "here"


def test_second_drain_has_no_effect_and_one_undo_ends_it() -> None:
    gateway = waiting_gateway()
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
        testing._run(drain_twice)  # also after the first drain has ended
        assert status_of(server) == 503
        testing._run(lambda: there.set_draining(False))
        assert status_of(server) == 101
        assert gateway.problems() == []


def test_undo_does_not_keep_an_exiting_worker() -> None:
    gateway = waiting_gateway()

    def drain_worker_and_undo() -> list[str]:
        ending = gevent.spawn(gateway.drain)
        gateway._registry.set_draining(True)
        gevent.idle()
        gateway._registry.set_draining(False)
        ending.join()
        return gateway.problems()

    with testing.serve(gateway):
        assert testing._run(drain_worker_and_undo) == ["draining"]
