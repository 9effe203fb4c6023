"""`notice`: the text that workers receive, for all members or one."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from peatio_ws.cli.main import main
from peatio_ws.cluster.commands import MOST_CHARACTERS, NoticeCommand
from tests.unit.steered_workers import SteeredWorkers


def notice(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["notice", *arguments])


@pytest.mark.parametrize(
    ("arguments", "uid", "said"),
    [
        ((), None, "4 connections;"),
        (("--uid", "ANN"), "ANN", "4 connections of ANN;"),
    ],
)
def test_a_notice_reaches_every_worker(
    workers: SteeredWorkers, arguments: tuple[str, ...], uid: str | None, said: str
) -> None:
    for _ in range(2):
        workers.add(connections=2)
    result = notice("maintenance at 12:00 ±10 minutes", *arguments)
    assert result.exit_code == 0
    assert said in result.stderr
    (command,) = workers.received
    assert isinstance(command, NoticeCommand)
    assert (command.text, command.uid) == ("maintenance at 12:00 ±10 minutes", uid)


@pytest.mark.parametrize("text", ["x", "é" * MOST_CHARACTERS])
def test_length_of_a_notice_is_counted_in_characters(workers: SteeredWorkers, text: str) -> None:
    workers.add()
    assert notice(text).exit_code == 0


@pytest.mark.parametrize("text", ["", "x" * (MOST_CHARACTERS + 1)])
def test_a_notice_of_another_length_is_not_sent(workers: SteeredWorkers, text: str) -> None:
    workers.add()
    result = notice(text)
    assert result.exit_code == 1
    assert f"1 to {MOST_CHARACTERS} characters" in result.output
    assert workers.received == []
