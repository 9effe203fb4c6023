"""Comparing a command's output with what a page shows: after the command has ended, and while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import compare_output


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "8.txt"


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    path = tmp_path / "12.txt"
    path.write_text("one\n")
    return path


def test_background_command_that_has_not_started_yet_is_waited_for(
    output: Path, shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell starts command and comparison at the same time; either may be first."""
    monkeypatch.setattr(compare_output.time, "sleep", lambda _: output.write_text("one\n"))
    assert compare_output.main(output, shown, whole=False) == 0


def test_output_before_the_last_comparison_is_not_compared_again(
    output: Path, shown: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_output, "SECONDS", 0)
    output.write_text("one\none\n")
    assert [compare_output.main(output, shown, whole=False) for _ in range(3)] == [0, 0, 1]
    assert capsys.readouterr().out == "The page shows:\none\n\nThe output:\n\n"


def test_finished_command_may_print_nothing_else(output: Path, shown: Path) -> None:
    output.write_text("one\ntwo\n")
    assert compare_output.main(output, shown, whole=True) == 1
    assert compare_output.main(output, shown, whole=False) == 0


def test_finished_command_without_an_output_file_is_an_error(output: Path, shown: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compare_output.main(output, shown, whole=True)
