"""Clients that are ready at the same time share one turn of the loop."""

from __future__ import annotations

import gevent
import pytest

from peatio_ws.concurrency import yielding


def test_clients_that_are_ready_at_once_share_one_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only while a client is served."""
    now, order, hub = [100.0], list[int](), gevent.get_hub()
    iterations = dict[int, int]()
    monkeypatch.setattr(yielding.time, "monotonic", lambda: now[0])

    def client(number: int) -> None:
        for _ in range(5):
            yielding.let_others_run()
            order.append(number)
            iterations[hub.loop.iteration] = iterations.get(hub.loop.iteration, 0) + 1
            now[0] += yielding.TURN_SECONDS * 0.6

    with gevent.Timeout(30):
        gevent.joinall([gevent.spawn(client, number) for number in range(10)], raise_error=True)
    assert max(iterations.values()) <= 2, "at most two clients fit into a turn: the second one exceeds it"
    for end in range(len(order)):
        served = [order[:end].count(number) for number in range(10)]
        assert max(served) - min(served) <= 3, "some clients are served much more often than others"


def test_client_that_stops_waiting_for_its_turn_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [200.0]
    monkeypatch.setattr(yielding.time, "monotonic", lambda: now[0])
    gone = [gevent.spawn(yielding.let_others_run) for _ in range(3)]
    yielding.let_others_run()
    now[0] += 2 * yielding.TURN_SECONDS
    waiting = gevent.spawn(yielding.let_others_run)
    gevent.killall(gone)
    with gevent.Timeout(30):
        waiting.join()
    assert not gevent.get_hub().clients_turn.waiting


def test_waiting_clients_cost_the_loop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept, sleep = [300.0], [0], gevent.sleep
    monkeypatch.setattr(yielding.time, "monotonic", lambda: now[0])

    def counted(seconds: float) -> None:
        slept[0] += 1
        sleep(seconds)

    monkeypatch.setattr(gevent, "sleep", counted)

    def client() -> None:
        yielding.let_others_run()
        now[0] += yielding.TURN_SECONDS * 0.6

    with gevent.Timeout(30):
        gevent.joinall([gevent.spawn(client) for _ in range(200)], raise_error=True)
    assert slept[0] <= 200, "every waiting client slept in every turn"
