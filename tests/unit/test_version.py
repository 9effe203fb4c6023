"""The version has one place, from which the installed package takes it."""

from __future__ import annotations

import re
import tomllib

import peatio_ws
from peatio_ws.version import VERSION
from tests.support.gateway import ROOT


def test_the_package_is_built_with_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "peatio_ws.version.VERSION"}


def test_the_version_is_public_and_the_newest_in_the_changelog() -> None:
    assert peatio_ws.__version__ == VERSION
    newest = re.search(r"^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION
