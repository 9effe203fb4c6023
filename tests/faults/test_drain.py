"""Restarts and deployments: the gateway notifies every client and refuses none."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.certificate import Certificate
from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, receive
from tests.support.servers import wait_until
from tests.support.swarm import Swarm

CLIENTS = int(os.environ.get("PEATIO_WS_TEST_CLIENTS") or 300)
KILLED = "SIGKILL"
"""What gunicorn logs when it kills a worker that did not exit in time."""


@pytest.mark.parametrize(
    ("how", "count", "over_tls"), [(signal.SIGTERM, CLIENTS, False), (signal.SIGINT, CLIENTS // 2, True)]
)
def test_every_client_receives_a_retry_time_and_processes_exit(
    start: Callable[..., GatewayProcess],
    signer: Signer,
    folder: Path,
    how: signal.Signals,
    count: int,
    over_tls: bool,
) -> None:
    files = Certificate(folder / "drain-tls") if over_tls else None
    gateway = start(WEB_CONCURRENCY="2", **(files.environ if files else {}))
    with Swarm() as swarm:
        tokens = [signer.token(f"ID{number}") for number in range(count)]
        swarm.add(gateway.port, tokens, tls=files.trusted() if files else None)
        workers, process = gateway.workers(), gateway.process
        assert process is not None
        process.send_signal(how)
        swarm.until(lambda: all(client.ended for client in swarm.clients), "every client is notified and disconnected")
        assert {client.close[0] if client.close else None for client in swarm.clients} == {1012}
        waits = [
            re.fullmatch(r"restart; retry after (\d+)", client.close[1]) for client in swarm.clients if client.close
        ]
        assert len({wait[1] for wait in waits if wait}) > 1, "all clients were given the same time to reconnect"
        assert process.wait(WAIT) == 0
        assert KILLED not in gateway.log(), "the processes took longer than graceful_timeout"
        assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]


def test_reload_refuses_no_client_and_notifies_every_client(
    start: Callable[..., GatewayProcess], signer: Signer
) -> None:
    gateway = start(WEB_CONCURRENCY="2")
    token = signer.token("IDANN")
    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token(f"ID{number}") for number in range(CLIENTS)])
        before = set(gateway.workers())
        os.kill(gateway.pid, signal.SIGHUP)
        accepted, last = 0, list[int | None]()
        while accepted <= 10 or not all(client.ended for client in swarm.clients):
            try:
                with gateway.member(token):
                    accepted += 1
            except ConnectionClosed as closed:  # an old worker accepted it just before it exited, and notified it too
                last.append(closed.rcvd.code if closed.rcvd else None)
            swarm.turn(0)
        assert {client.close[0] if client.close else None for client in swarm.clients} == {1012}
        assert set(last) <= {1012}
        wait_until(lambda: not before & set(gateway.workers()), "the old workers are gone")
        assert len(gateway.workers()) == 2


def test_idle_http_connection_does_not_delay_shutdown(start: Callable[..., GatewayProcess]) -> None:
    import http.client

    gateway = start()
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=WAIT)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 426
    answer.read()
    assert gateway.process is not None
    gateway.process.terminate()
    assert gateway.process.wait(WAIT) == 0
    assert KILLED not in gateway.log(), "gunicorn waited for graceful_timeout"


def test_lost_consumer_is_restored_or_ends_the_worker(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    gateway = start()
    (worker,) = gateway.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: gateway.workers() not in ([], [worker]), "another worker")
    gateway.wait_ready()
    with gateway.member(signer.token("IDANN")) as ann:
        publisher.order("IDANN", 3)
        assert receive(ann)["orderbook"]["id"] == 3
