"""`revocations`: the list, and taking a revocation back."""

from __future__ import annotations

import json

import pytest

from peatio_ws.cluster.commands import CancelCommand
from tests.unit.cli.calling import call
from tests.unit.steered_workers import SteeredWorkers


def revoke(workers: SteeredWorkers) -> None:
    workers.add()
    call("disconnect ANN --revoke")
    call("disconnect BOB --revoke --jti stolen")


def test_revocations_are_listed(workers: SteeredWorkers) -> None:
    revoke(workers)
    head, ann, bob = call("revocations").stdout.splitlines()
    assert head.split() == ["MEMBER", "TOKEN", "ISSUED", "UNTIL", "REFUSED", "UNTIL"]
    assert ann.split()[:2] == ["ANN", "all"]
    assert bob.split()[:3] == ["BOB", "stolen", "-"]
    lines = [json.loads(line) for line in call("revocations --json").stdout.splitlines()]
    assert [(one["uid"], one["jti"]) for one in lines] == [("ANN", None), ("BOB", "stolen")]


@pytest.mark.parametrize("line", ["revocations", "revocations --json"])
def test_missing_revocations_are_reported_to_people_only(workers: SteeredWorkers, line: str) -> None:
    result = call(line)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no revocations\n")
    revoke(workers)
    assert call(line).stderr == ""


def test_revocation_is_taken_back_everywhere(workers: SteeredWorkers) -> None:
    revoke(workers)
    result = call("revocations --undo stolen")
    assert result.exit_code == 0
    head, bob = result.stdout.splitlines()
    assert head.split() == ["MEMBER", "TOKEN", "ISSUED", "UNTIL", "WAS", "REFUSED", "UNTIL"]
    assert bob.split()[:3] == ["BOB", "stolen", "-"]
    assert result.stderr == "accepted again; received by 1 worker of 1 gateway\n"
    assert isinstance(workers.received[-1], CancelCommand)
    assert call("revocations").stdout.split()[6:8] == ["ANN", "all"]


def test_unknown_revocation_is_reported(workers: SteeredWorkers) -> None:
    revoke(workers)
    result = call("revocations --undo NOBODY")
    assert (result.exit_code, result.stderr) == (1, "Error: there is no revocation of NOBODY\n")
