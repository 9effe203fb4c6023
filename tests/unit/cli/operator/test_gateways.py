"""`gateways`: workers, their versions, and why one is not ready."""

from __future__ import annotations

import json

from peatio_ws.cluster.commands import Answer, WorkerId
from peatio_ws.monitoring.worker_reports import WorkerStatus
from tests.unit.cli.calling import call
from tests.unit.steered_workers import SteeredWorkers


def add(workers: SteeredWorkers, worker: int, *problems: str) -> None:
    status = WorkerStatus("1.2", 0.0, 5, 3, list(problems), 0.25)
    answer = Answer(WorkerId("web1", "web1:8080", worker), 0, status=status)
    workers.workers.append(lambda _: [answer])


def test_workers_are_listed_with_their_problems(workers: SteeredWorkers) -> None:
    add(workers, 8, "draining", "no key")
    add(workers, 7)
    result = call("gateways")
    _, first, second = result.stdout.splitlines()
    assert first.split() == ["web1:8080", "7", "1.2", "1970-01-01T00:00:00Z", "5", "3", "yes"]
    assert second.endswith("  3           draining; no key")
    assert result.stderr == "10 connections; received by 2 workers of 1 gateway\n"


def test_json_has_a_line_for_each_gateway(workers: SteeredWorkers) -> None:
    add(workers, 7)
    (line,) = call("gateways --json").stdout.splitlines()
    assert json.loads(line)["workers"][0]["lag_seconds"] == 0.25
