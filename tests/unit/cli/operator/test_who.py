"""`who`: how members and connections are listed, for people and for scripts."""

from __future__ import annotations

import json

from peatio_ws.cluster.commands import Answer, WhoCommand, WorkerId
from peatio_ws.monitoring.worker_reports import MemberConnection
from tests.unit.cli.calling import call
from tests.unit.steered_workers import SteeredWorkers

PLACE, OTHER = WorkerId("web1", "web1:8080", 1), WorkerId("web2", "web2:8080", 2)
OLD = MemberConnection("ANN", "c1", "classic", "203.0.113.7", 0.0)
NEW = MemberConnection("ANN", "c2", "ranger", "203.0.113.8", 60.0)


def add_workers(workers: SteeredWorkers) -> None:
    workers.workers += [lambda _: [Answer(PLACE, 3, members=[NEW])], lambda _: [Answer(OTHER, 1, members=[OLD])]]


def test_members_are_listed_with_their_oldest_connection(workers: SteeredWorkers) -> None:
    add_workers(workers)
    result = call("who")
    assert result.stdout.splitlines()[1].split() == ["ANN", "2", "1970-01-01T00:00:00Z", "web1:8080", "web2:8080"]
    assert "1 member with 2 connections, 2 anonymous" in result.stderr


def test_connections_of_a_member_are_listed_with_their_workers(workers: SteeredWorkers) -> None:
    add_workers(workers)
    result = call("who ANN")
    assert [row.split()[2:] for row in result.stdout.splitlines()[1:]] == [
        ["classic", "203.0.113.7", "web2:8080/2", "0", "c1"],
        ["ranger", "203.0.113.8", "web1:8080/1", "0", "c2"],
    ]
    (command,) = workers.received
    assert isinstance(command, WhoCommand)
    assert command.uid == "ANN"


def test_json_has_a_line_for_each_connection(workers: SteeredWorkers) -> None:
    add_workers(workers)
    lines = [json.loads(line) for line in call("who --json").stdout.splitlines()]
    assert [(one["connection"], one["gateway"], one["worker"]) for one in lines] == [
        ("c1", "web2:8080", 2),
        ("c2", "web1:8080", 1),
    ]
