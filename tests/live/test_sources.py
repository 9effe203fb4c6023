"""One suite over every kind of source: the history stream, a worker's own queue and the in-process broker."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.support import fork_server
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.servers import RabbitMQ

SECONDS = 180


def scenarios() -> list[tuple[str, str]]:
    """Return kind and name of each scenario. They are listed by another process, since they need gevent's patches."""
    command = [sys.executable, "-m", "tests.support.source_scenarios"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [tuple(line.split()) for line in found.stdout.splitlines()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def url(broker: RabbitMQ) -> Iterator[str]:
    """A virtual host whose exchanges are not used by other tests."""
    name = uuid.uuid4().hex
    broker.ctl("add_vhost", name)
    broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"amqp://guest:guest@127.0.0.1:{broker.port}/{name}"
    broker.ctl("delete_vhost", name)


@pytest.mark.parametrize(("kind", "scenario"), scenarios())
def test_source(url: str, kind: str, scenario: str) -> None:
    if kind == "embedded":
        url = "memory://"
    command = ["tests.support.source_scenarios", kind, scenario, url]
    done = fork_server.shared("gateway").run(command, os.environ, SECONDS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_queue_is_read_without_permission_to_report_what_it_drops(url: str, broker: RabbitMQ) -> None:
    user, host = "reader", url.rpartition("/")[2]
    broker.ctl("add_user", user, "secret")
    broker.ctl("set_permissions", "-p", host, user, ".*", r"^(?!peatio_ws\.dropped$)", ".*")
    try:
        test_source(url.replace("guest:guest", f"{user}:secret"), "queue", "events_arrive_in_order_and_once")
    finally:
        broker.ctl("delete_user", user)


def test_slow_workers_queue_is_bounded(gateway: GatewayProcess, broker: RabbitMQ) -> None:
    """Without a limit the queue would fill the broker, which then blocks Peatio."""
    assert gateway.operators("/readyz")[0] == 200
    queues = [
        line for line in broker.ctl("list_queues", "name", "arguments").splitlines() if "peatio_ws.public." in line
    ]
    assert queues
    assert all("x-max-length" in line for line in queues)
