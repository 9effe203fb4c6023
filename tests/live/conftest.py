"""What the JavaScript clients need."""

from __future__ import annotations

import subprocess

import pytest

from tests.gateway import ROOT

EXAMPLES = ROOT / "examples"
NPM_SECONDS = 180.0


@pytest.fixture(scope="session")
def node_modules() -> None:
    """What `examples/package-lock.json` names, installed: the client's package as it would be published, and `ws`."""
    installed, client = EXAMPLES / "node_modules" / ".package-lock.json", ROOT / "clients" / "js"
    sources = [EXAMPLES / "package-lock.json", *client.glob("*.m[jt]s"), client / "package.json"]
    if installed.exists() and all(installed.stat().st_mtime >= source.stat().st_mtime for source in sources):
        return
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=EXAMPLES, capture_output=True, text=True, timeout=NPM_SECONDS
    )
    assert done.returncode == 0, done.stderr
