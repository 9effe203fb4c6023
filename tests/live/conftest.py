"""What the JavaScript clients need."""

from __future__ import annotations

import subprocess

import pytest

from tests.gateway import ROOT

EXAMPLES = ROOT / "examples"
NPM_SECONDS = 180.0


@pytest.fixture(scope="session")
def node_modules() -> None:
    """What `examples/package-lock.json` names, installed."""
    installed, lock = EXAMPLES / "node_modules" / ".package-lock.json", EXAMPLES / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, capture_output=True, text=True, timeout=NPM_SECONDS
    )
    assert done.returncode == 0, done.stderr
