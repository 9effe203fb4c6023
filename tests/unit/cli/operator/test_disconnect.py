"""`disconnect`: the command that workers receive, the stored revocation, and what is printed."""

from __future__ import annotations

import time

import pytest

from peatio_ws.auth.revocations import REVOCATIONS_KEPT
from peatio_ws.cli.operator.operator_command import NO_GATEWAY
from peatio_ws.cluster.commands import CloseCommand, Command, DisconnectCommand
from tests.unit.cli.calling import call, fails
from tests.unit.steered_workers import SteeredWorkers

DAY = 86_400


def received(workers: SteeredWorkers) -> DisconnectCommand:
    command: Command
    (command,) = workers.received
    assert isinstance(command, DisconnectCommand)
    return command


def test_connections_are_closed_without_revoking_anything(workers: SteeredWorkers) -> None:
    workers.add(connections=2)
    result = call("disconnect ANN")
    assert result.exit_code == 0
    assert "2 connections of ANN" in result.stderr
    assert (received(workers).uid, received(workers).jti, received(workers).revoked) == ("ANN", None, None)
    assert workers.revocations == {}


def test_revoke_refuses_all_tokens_issued_until_now(workers: SteeredWorkers) -> None:
    workers.add()
    began = time.time()
    result = call("disconnect ANN --revoke --keep 2")
    revoked = received(workers).revoked
    assert result.exit_code == 0
    assert revoked is not None
    assert revoked.jti is None
    assert began <= revoked.issued <= time.time()
    assert revoked.until == pytest.approx(revoked.issued + 2 * DAY)
    assert "tokens of ANN issued until " in result.stderr
    assert list(workers.revocations.values()) == [revoked.until]


def test_revoking_one_token_does_not_affect_others(workers: SteeredWorkers) -> None:
    workers.add()
    result = call("disconnect ANN --revoke --jti stolen")
    revoked = received(workers).revoked
    assert revoked is not None
    assert (received(workers).jti, revoked.jti) == ("stolen", "stolen")
    assert "the token stolen of ANN" in result.stderr


def test_a_token_is_revoked_only_with_revoke(workers: SteeredWorkers) -> None:
    workers.add()
    assert call("disconnect ANN --jti used").exit_code == 0
    assert (received(workers).jti, received(workers).revoked) == ("used", None)
    assert workers.revocations == {}
    assert "Only --revoke also revokes it" in " ".join(call("disconnect --help").output.split())


def test_revocation_is_stored_even_without_workers(workers: SteeredWorkers) -> None:
    assert call("disconnect ANN --revoke").exit_code == NO_GATEWAY
    assert len(workers.revocations) == 1


def test_nothing_is_done_if_no_more_revocations_fit(workers: SteeredWorkers) -> None:
    until = time.time() + DAY
    workers.revocations = {b"%d" % number: until for number in range(REVOCATIONS_KEPT)}
    assert "nothing was done" in fails("disconnect ANN --revoke")
    assert workers.received == []
    assert call("disconnect ANN").exit_code == NO_GATEWAY, "without --revoke nothing has to be stored"


@pytest.mark.parametrize("days", ["0", "91", "-1"])
def test_revocation_is_stored_for_up_to_90_days(workers: SteeredWorkers, days: str) -> None:
    assert "--keep" in fails(f"disconnect ANN --revoke --keep {days}", status=2)
    assert workers.received == []


# ---- one connection


def test_one_connection_is_closed_by_its_id(workers: SteeredWorkers) -> None:
    workers.add(connections=1)
    workers.add(connections=0)
    result = call("disconnect --connection 0123456789ab")
    assert result.exit_code == 0
    assert "closed 1 connection with the id 0123456789ab" in result.stderr
    (command,) = workers.received
    assert isinstance(command, CloseCommand)
    assert command.connection == "0123456789ab"


@pytest.mark.parametrize("line", ["", "ANN --connection c1", "--connection c1 --revoke", "--connection c1 --jti a"])
def test_either_a_member_or_a_connection_is_disconnected(workers: SteeredWorkers, line: str) -> None:
    assert "either a UID" in fails(f"disconnect {line}", status=2)
    assert workers.received == []
