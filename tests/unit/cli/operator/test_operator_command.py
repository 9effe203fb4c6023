"""How an operator's command ends: what it prints, and its exit status."""

from __future__ import annotations

import pytest

from peatio_ws.cli.operator.operator_command import NO_GATEWAY, NOT_ALL, counted, end
from peatio_ws.cluster.commands import Answer, WorkerId
from peatio_ws.cluster.operator import CommandResult


def answer(gateway: str, pid: int, meant: bool = True) -> Answer:
    return Answer(WorkerId("host", gateway, pid), 1, meant)


def test_a_command_that_all_workers_answered_has_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    end(CommandResult(2, [answer("host:8080", 1), answer("host:8080", 2)]), "done")
    assert capsys.readouterr().err == "done; received by 2 workers of 1 gateway\n"


def test_workers_that_the_command_does_not_concern_are_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    end(CommandResult(2, [answer("host:8080", 1), answer("other:8080", 2, meant=False)]), "done")
    assert capsys.readouterr().err == "done; received by 1 worker of 1 gateway\n"


def test_a_command_without_a_gateway_has_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        end(CommandResult(0), "nothing done")
    assert ended.value.code == NO_GATEWAY
    assert "no gateway received it" in capsys.readouterr().err


def test_a_worker_that_does_not_answer_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        end(CommandResult(3, [answer("host:8080", 1)]), "done")
    assert ended.value.code == NOT_ALL
    assert "2 workers did not answer" in capsys.readouterr().err


def test_numbers_are_readable() -> None:
    assert [counted(number, "worker") for number in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
