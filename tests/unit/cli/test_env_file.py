"""`--env-file`: variables for any command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peatio_ws.cli import env_file
from tests.unit.cli.calling import fails


def test_the_environment_has_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("LOG_FORMAT", "")
    monkeypatch.delenv("LOG_FORMAT")
    (tmp_path / "file").write_text("LOG_LEVEL=info\nLOG_FORMAT=text\n")
    assert env_file.load(tmp_path / "file").names == {"LOG_FORMAT"}
    assert (os.environ["LOG_LEVEL"], os.environ["LOG_FORMAT"]) == ("debug", "text")


def test_faults_of_the_file_are_reported(folder: Path) -> None:
    (folder / "gateway.env").write_text("LOG_LEVEL info\n")
    assert "gateway.env, line 1: is not NAME=value" in fails("--env-file gateway.env settings")


def test_a_missing_file_is_wrong_usage() -> None:
    assert "'missing' does not exist" in fails("--env-file missing settings", status=2)
