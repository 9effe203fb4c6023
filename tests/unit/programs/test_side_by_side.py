"""Commands that run at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import side_by_side

ROOT = Path(__file__).parent.parent.parent.parent


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.programs.side_by_side", *lines]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_commands_run_at_the_same_time(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    meet = "sh -c 'touch {}; until [ -e {} ]; do sleep 0.01; done'"
    assert run(meet.format(one, two), meet.format(two, one)).returncode == 0


@pytest.mark.parametrize(
    ("lines", "status"), [(("true", "true"), 0), (("sh -c 'exit 3'", "true"), 3), (("true", "false"), 1)]
)
def test_failing_command_is_a_failure(lines: tuple[str, ...], status: int) -> None:
    assert side_by_side.main(lines) == status


def test_output_of_a_command_is_not_mixed_with_others() -> None:
    said = run("sh -c 'echo a; sleep 0.05; echo b'", "sh -c 'echo c; sleep 0.02; echo d'").stdout
    assert "a\nb\n== sh -c 'echo a; sleep 0.05; echo b': ok, " in said
