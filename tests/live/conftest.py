"""Packages for tests of the JavaScript clients."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import ROOT

CLIENT = ROOT / "clients" / "js"
EXAMPLES = ROOT / "examples"
NPM_SECONDS = 180.0
VITE = "vite@6.4.6"


@pytest.fixture(scope="session")
def node_modules() -> None:
    """Install `examples/package-lock.json`: the client's package as it would be published, and its dependencies."""
    _install(
        EXAMPLES,
        [*CLIENT.glob("*.?js"), *CLIENT.glob("src/*"), *CLIENT.glob("types/**/*.?ts"), CLIENT / "package.json"],
    )


@pytest.fixture(scope="session")
def compiler() -> None:
    """Install `clients/js/package-lock.json`: the client's development dependencies."""
    _install(CLIENT, [])


def _install(where: Path, copied: list[Path]) -> None:
    installed = where / "node_modules" / ".package-lock.json"
    sources = [where / "package-lock.json", *copied]
    # Several processes run live tests. The first process that takes the lock installs the packages.
    with (where / ".npmrc").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and all(installed.stat().st_mtime >= source.stat().st_mtime for source in sources):
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=NPM_SECONDS)
        assert done.returncode == 0, done.stderr
