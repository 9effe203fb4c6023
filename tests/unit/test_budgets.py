"""The table of budgets in `docs/security.md`: the settings, code and tests that it names exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from peatio_ws.config.settings import Settings
from peatio_ws.monitoring.limits import Limit
from tests.support.gateway import ROOT

PAGE = ROOT / "docs" / "security.md"
HEADING = "| what an anonymous client can cause |"
VARIABLES = {
    alias
    for field in Settings.model_fields.values()
    if field.validation_alias is not None
    for alias in field.validation_alias.choices  # type: ignore[union-attr]
}


class Row(NamedTuple):
    """A budget."""

    cause: str
    limit: str
    code: str
    over: str
    test: str


def rows() -> list[Row]:
    lines = iter(PAGE.read_text().splitlines())
    for line in lines:
        if line.startswith(HEADING):
            break
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(Row(*(cell.strip() for cell in line.strip("|").split(" | "))))
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def names_in(file: Path) -> set[str]:
    """Return the names that a module defines: functions, classes, methods and assigned names."""
    found = set()

    def below(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                below(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    below(ast.parse(file.read_text()).body, "")
    return found


def exists(name: str) -> bool:
    """Return whether `module.name` or `module.Class.method` exists, in any folder."""
    module, _, inner = name.partition(".")
    if module == "tests":
        return (ROOT / "tests" / f"{inner.replace('.', '/')}.py").exists()
    return any(inner in names_in(file) for file in (ROOT / "peatio_ws").rglob(f"{module}.py"))


ROWS = rows()


def test_the_table_is_found() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_the_code_of_a_budget_exists(row: Row) -> None:
    assert quoted(row.code)
    assert [name for name in quoted(row.code) if not exists(name)] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_the_settings_and_limits_of_a_budget_exist(row: Row) -> None:
    assert row.limit
    variables = {name for name in quoted(row.limit + row.cause) if name.isupper()}
    assert variables <= VARIABLES
    labels = {name for name in quoted(row.over) if name.islower()}
    assert labels <= {limit.value for limit in Limit}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.cause)
def test_the_test_of_a_budget_exists(row: Row) -> None:
    for name in quoted(row.test):
        file, _, test = name.partition("::")
        assert test in names_in(ROOT / file), name
    assert quoted(row.test)


@pytest.mark.parametrize("name", ["channels.PublicChannels.no_such", "no_such.PublicChannels", "read_pacing.NO_SUCH"])
def test_missing_name_is_found(name: str) -> None:
    assert not exists(name)
