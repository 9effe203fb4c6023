"""`settings`: what is in force, from where, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.calling import call, fails
from tests.unit.samples import environment

GIVEN = environment(WEBSOCKET_PORT="9000", RANGER_HOST="127.0.0.1", REDIS_URL="redis://:secret@host/0")


def rows(said: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (line.split(maxsplit=2) for line in said.splitlines())}


def test_values_are_printed_with_their_sources() -> None:
    result = call("settings", **GIVEN)
    found = rows(result.stdout)
    assert result.exit_code == 0
    assert found["VARIABLE"] == ["VALUE", "SOURCE"]
    assert found["WEBSOCKET_PORT"] == ["9000", "environment"]
    assert found["WEBSOCKET_HOST"] == ["127.0.0.1", "environment: RANGER_HOST"]
    assert found["METRICS_PORT"] == ["4242", "default"]
    assert found["WEBSOCKET_UNIX"] == ["-", "default"]
    assert "secret" not in result.output
    assert GIVEN["JWT_PUBLIC_KEY"] not in result.output


def test_only_changed_settings_can_be_printed() -> None:
    assert set(rows(call("settings --changed", **GIVEN).stdout)) == {
        "VARIABLE",
        "WEBSOCKET_HOST",
        "WEBSOCKET_PORT",
        "REDIS_URL",
        "JWT_PUBLIC_KEY",
    }


def test_misspelt_variables_are_named() -> None:
    said = call("settings", **GIVEN, AMQP_ULR="x").stderr
    assert said == "AMQP_ULR is not a variable of the gateway, which ignores it; AMQP_URL is\n"


def test_invalid_settings_are_not_in_force() -> None:
    said = fails("settings", **GIVEN | {"WEBSOCKET_PORT": "http", "WEB_CONCURRENCY": "none"})
    assert said.startswith("Error: the settings are not valid:\n")
    assert said.count("\n") == 3


def test_values_of_a_file_name_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("METRICS_PORT", "AMQP_URL"):  # so that the variables of the file are forgotten after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (folder / "gateway.env").write_text("WEBSOCKET_PORT=1\nMETRICS_PORT=4300\nAMQP_URL=amqp://a:secret@b/\n")
    result = call("--env-file gateway.env settings", **GIVEN)
    found = rows(result.stdout)
    assert found["METRICS_PORT"] == ["4300", "gateway.env"]
    assert found["AMQP_URL"] == ["amqp://a:***@b/", "gateway.env"]
    assert found["WEBSOCKET_PORT"] == ["9000", "environment"], "the environment has priority"
