"""A folder for each test of a command."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and none of the gateway's variables."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if re.match("JWT|AMQP_|RABBITMQ_|WEBSOCKET_|RANGER_|REDIS_URL", name):
            monkeypatch.delenv(name)
    return tmp_path
