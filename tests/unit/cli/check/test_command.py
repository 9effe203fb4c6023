"""`check`: how findings are printed, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from peatio_ws.cli.check import runner
from peatio_ws.cli.check.report import Finding
from peatio_ws.errors import TokenFault
from tests.unit.cli.calling import call

OK, WRONG, SKIPPED = (
    Finding("settings", True, "fine"),
    Finding("broker", False, "mq:5672: nothing listens there", "start it"),
    Finding("redis", None, "not set"),
)


def check(monkeypatch: pytest.MonkeyPatch, *findings: Finding, line: str = "check", **environ: str) -> Any:
    given: list[tuple[Any, str | None]] = []

    def run_checks(environment: Any, token: str | None) -> Iterator[Finding]:
        given.append((dict(environment), token))
        return iter(findings)

    monkeypatch.setattr(runner, "run_checks", run_checks)
    result = call(line, **environ)
    ((environment, token),) = given
    return result, environment, token


def test_without_a_fault_the_status_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, _ = check(monkeypatch, OK, SKIPPED)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, empty, last = result.stdout.splitlines()
    assert first.split() == ["ok", "settings", "fine"]
    assert second.split() == ["-", "redis", "not", "set"]
    assert (empty, last) == ("", "all is well")


def test_a_fault_is_printed_with_its_remedy_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, _ = check(monkeypatch, OK, WRONG, WRONG)
    assert result.exit_code == 1
    _, fault, remedy, *_, last = result.stdout.splitlines()
    assert fault.split(maxsplit=2) == ["WRONG", "broker", "mq:5672: nothing listens there"]
    assert remedy.split() == ["->", "start", "it"]
    assert last == "wrong: 2"


@pytest.mark.parametrize(
    ("line", "environ", "token"),
    [
        ("check", {}, None),
        ("check --token T", {}, "T"),
        ("check", {"JWT": "E"}, "E"),
        ("check --token T", {"JWT": "E"}, "T"),
    ],
)
def test_the_environment_and_a_token_are_checked(
    monkeypatch: pytest.MonkeyPatch, line: str, environ: dict[str, str], token: str | None
) -> None:
    _, environment, given = check(monkeypatch, line=line, LOG_LEVEL="debug", **environ)
    assert environment["LOG_LEVEL"] == "debug"
    assert given == token


@pytest.mark.parametrize("line", ["check", "check --json"])
def test_text_of_a_token_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """Whoever made a token has chosen its claims."""
    hostile = Finding("token", False, "it is \x1b[2J\x9b\u202e\ud83d, JWT_ISSUER is barong", "use \x07 it")
    result, _, _ = check(monkeypatch, hostile, OK, line=line)
    assert result.exit_code == 1
    assert "it is ?[2J???, JWT_ISSUER is barong" in result.stdout
    assert "use ? it" in result.stdout
    assert "fine" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()


def test_json_has_a_line_for_each_item(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = Finding("token", False, "has expired", "renew it", TokenFault.EXPIRED)
    result, _, _ = check(monkeypatch, OK, WRONG, SKIPPED, coded, line="check --json")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines[1] == {
        "what": "broker",
        "ok": False,
        "text": "mq:5672: nothing listens there",
        "remedy": "start it",
        "code": None,
    }
    assert [one["ok"] for one in lines] == [True, False, None, False]
    assert lines[3]["code"] == TokenFault.EXPIRED.value
