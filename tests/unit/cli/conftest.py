"""Fixtures for tests of commands: an empty folder, and a key in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from peatio_ws.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without any of the gateway's variables set."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if re.match("JWT|AMQP_|RABBITMQ_|WEBSOCKET_|RANGER_|REDIS_|(?i:(https?|all|no|ws)_proxy$)", name):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def key(folder: Path) -> None:
    """The key pair that `keygen` writes into the folder."""
    assert CliRunner().invoke(main, ["keygen"]).exit_code == 0
