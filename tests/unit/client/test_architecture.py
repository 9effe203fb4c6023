"""The layout of the Python client: pure modules import no socket, thread or event loop, and no file grows too large."""

from __future__ import annotations

import ast
from pathlib import Path

import peatio_client
import pytest

from tests.unit.test_architecture import MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION

PACKAGE = Path(peatio_client.__file__).parent
PURE = (
    *"events channels books _endings _tokens _credentials _pace _trades".split(),
    *"_commands _json _wire _shelf _course _requests _callbacks".split(),
)
IMPURE = set("asyncio os select socket ssl subprocess threading websockets".split())


def imported(module: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure_knows_no_socket(module: str) -> None:
    names = imported(module)
    assert not {name.split(".")[0] for name in names} & IMPURE
    ours = {name.removeprefix("peatio_client.") for name in names if name.startswith("peatio_client.")}
    assert ours <= set(PURE[: PURE.index(module)]), "imports go down the list"


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_too_long(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, node.name
    assert ast.get_docstring(ast.parse(text))
