"""`drain`: the gateways that it selects, and its answer to an unknown name."""

from __future__ import annotations

import pytest

from peatio_ws.cli.operator.operator_command import NO_GATEWAY, NOT_ALL
from peatio_ws.cluster.commands import DrainCommand
from tests.unit.cli.calling import call, fails
from tests.unit.steered_workers import SteeredWorkers


@pytest.mark.parametrize(
    ("line", "where", "undo", "said"),
    [
        ("--all", None, False, "3 connections"),
        ("--host host:8080", "host:8080", False, "3 connections"),
        ("--host host --undo", "host", True, "accepts clients again"),
    ],
)
def test_drain_and_undo(workers: SteeredWorkers, line: str, where: str | None, undo: bool, said: str) -> None:
    workers.add(connections=3)
    result = call(f"drain {line}")
    assert result.exit_code == 0
    assert said in result.stderr
    (command,) = workers.received
    assert isinstance(command, DrainCommand)
    assert (command.where, command.undo) == (where, undo)


@pytest.mark.parametrize("line", ["", "--host host --all"])
def test_gateways_have_to_be_selected_in_one_way(workers: SteeredWorkers, line: str) -> None:
    workers.add()
    assert "--host NAME or --all" in fails(f"drain {line}", status=2)
    assert workers.received == []


def test_an_unknown_gateway_is_answered_with_the_known_ones(workers: SteeredWorkers) -> None:
    for gateway in ("b:8080", "a:8080", "a:8080"):
        workers.add(gateway, connections=0, meant=False)
    result = call("drain --host c")
    assert result.exit_code == NO_GATEWAY
    assert "c; the gateways are: a:8080, b:8080\n" in result.stderr


def test_silent_worker_may_belong_to_the_named_gateway(workers: SteeredWorkers) -> None:
    workers.add("a:8080", connections=0, meant=False)
    workers.add_silent()
    result = call("drain --host c")
    assert result.exit_code == NOT_ALL
    assert "no gateway is called" not in result.stderr


def test_without_any_gateway_nothing_is_drained(workers: SteeredWorkers) -> None:
    result = call("drain --all")
    assert result.exit_code == NO_GATEWAY
    assert workers.closed
