"""All commands: help, usage, and errors without a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from peatio_ws.cli.main import COMMANDS as COMMANDS_BY_HEADING
from peatio_ws.cli.main import main
from peatio_ws.version import VERSION
from tests.support.gateway import ROOT
from tests.unit.cli.calling import call, fails

COMMANDS = ["keygen", "token", "publish", "publish order", "publish trade", "publish event", "listen", "check", "run"]
COMMANDS += ["settings", "who", "disconnect", "notice", "drain", "gateways", "revocations"]


# ---- help


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(command: str, option: str) -> None:
    result = call(f"{command} {option}")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_help_lists_every_command() -> None:
    shown = call("--help").output
    for command in COMMANDS:
        assert re.search(rf"^  {command.split()[0]}\b", shown, re.MULTILINE)


def test_every_command_is_under_a_heading() -> None:
    shown = call("--help").output
    assert [line for line in shown.splitlines() if line in ("Start a gateway:", "Control running gateways:")]
    folder = ROOT / "peatio_ws" / "cli"
    files = {
        file.relative_to(folder)
        for file in folder.rglob("*.py")
        if re.search(r"^@(click\.(command|group)|operator_command)\b", file.read_text(), re.M)
    }
    files.remove(Path("main.py"))
    listed = [module for commands in COMMANDS_BY_HEADING.values() for module in commands.values()]
    assert sorted(listed) == sorted(".".join(file.with_suffix("").parts) for file in files)
    assert "Commands:" not in shown


def test_version_is_printed() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert re.fullmatch(
        rf"peatio-ws {re.escape(VERSION)} \(Python [0-9.]+, gunicorn [0-9.]+, gevent [0-9.]+\)\n", result.output
    )


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "--nonsense",
        "keygen --algorithm HS256",
        "token --expires soon",
        "token --claim name",
        "publish",
        "publish --rate 0 --file -",
        "publish --repeat -1 --file -",
        "publish --file missing",
        "publish --file - order --uid A",
        "publish order",
        "publish trade --ask-uid A",
        "publish event",
        "listen --count many",
        "disconnect",
        "disconnect ID1 --keep 91",
        "notice",
        "drain",
        "drain --host a --all",
    ],
)
def test_wrong_usage_exits_with_status_2(line: str) -> None:
    assert "Usage: " in fails(line, status=2)


@pytest.mark.parametrize("line", ["who", "disconnect ID1", "notice hello", "drain --all"])
def test_command_without_redis_url_names_the_variable(line: str) -> None:
    said = fails(line)
    assert said.startswith("Error: REDIS_URL is not set")
    assert said.count("\n") == 1


def test_unknown_algorithm_is_reported() -> None:
    call("keygen")
    assert isinstance(call("token --algorithm nonsense").exception, SystemExit)


@pytest.mark.parametrize(
    "line",
    [
        "publish trade --ask-uid A --bid-uid B --price much",
        "publish order --uid A --file missing",
        "keygen --directory file",
        "run --folder file",
        "run --folder junk",
    ],
)
def test_unreadable_and_unwritable_files_are_reported(folder: Path, line: str) -> None:
    (folder / "file").write_text("")
    (folder / "junk").mkdir()
    (folder / "junk" / "private.pem").write_text("junk")
    assert isinstance(call(line, AMQP_URL="memory://" if "publish" in line else "").exception, SystemExit)


def test_commands_leave_no_metrics_behind(folder: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    program = """
import os
from peatio_ws.cli.main import main
main(["--help"], standalone_mode=False)
print(os.environ["PROMETHEUS_MULTIPROC_DIR"])
"""
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == str(folder), done.stderr
    assert list(folder.iterdir()) == []


def test_short_commands_load_no_library_of_the_servers() -> None:
    """Loading them takes most of the time of `token` and `--version`."""
    program = """
import contextlib, sys
from peatio_ws.cli.main import main
with contextlib.suppress(SystemExit):
    main(["token", "--help"])
print(sorted({"gevent", "kombu", "prometheus_client", "redis"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(("value", "shown"), [("", True), ("1", False)])
def test_no_color_is_respected(value: str, shown: bool) -> None:
    command = click.Command("colors", callback=lambda: click.secho("text", fg="red"))
    main.add_command(command)
    try:
        result = CliRunner().invoke(main, ["colors"], env={"NO_COLOR": value}, color=True)
    finally:
        del main.commands["colors"]
    assert ("\x1b[" in result.output) is shown
