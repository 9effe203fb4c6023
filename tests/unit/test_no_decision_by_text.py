"""No code of the package depends on the text of an error: texts are for people, and may contain any word.

A virtual host called `exchange` once disabled all private events of a worker, because the code tested
`"exchange" in str(error)`. Decisions may use types, codes and attributes of exceptions, and the current operation.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.test_architecture import MODULES, tree

TEXTS = {"args", "strerror", "reply_text", "message", "msg"}
"""Attributes of exceptions that contain texts."""
CALLED_ERRORS = {"error", "exc", "exception", "fault", "failure", "problem"}
"""Usual names of exceptions and texts of faults."""
ASKED = {"startswith", "endswith", "find", "rfind", "index", "count", "partition", "rpartition", "split", "rsplit"}
ASKED_OF = {"search", "match", "fullmatch", "findall", "finditer", "get"}
"""Methods that test a text, and methods that receive a text to test."""

EXCEPTIONS = {
    "cluster.redis_connection.code_of": "RESP begins an error reply with its code; redis-py 8.1 knows some of them",
}
"""Functions that may do so, and why. The list should be short."""


def errors_in(function: ast.AST) -> set[str]:
    """Return the names that are bound to exceptions in a function."""
    names = set(CALLED_ERRORS)
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            kind = ast.unparse(node.annotation)
            if kind.endswith(("Exception", "Error")) or "Exception |" in kind or "Error |" in kind:
                names.add(node.arg)
    return names


def last_name(node: ast.AST) -> str:
    """Return the last name of an expression: `faults` for `error.faults`, `fault_lines` for `fault_lines(error)`."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_text_of_error(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    """Return whether an expression is the text of an error, or derived from it."""
    if isinstance(node, ast.Name):
        return node.id in texts
    if isinstance(node, ast.Attribute):
        return node.attr in TEXTS and isinstance(node.value, ast.Name) and node.value.id in errors
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name in ("str", "repr", "say", "ascii", "format"):
            return any(
                (isinstance(given, ast.Name) and given.id in errors) or is_text_of_error(given, errors, texts)
                for given in node.args
            )
        if isinstance(node.func, ast.Attribute):  # a text that was stripped, lowercased, joined, …
            parts = [node.func.value, *node.args]
            return any(is_text_of_error(part, errors, texts) for part in parts)
        return False
    if isinstance(node, ast.JoinedStr):
        values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return any(
            (isinstance(value, ast.Name) and value.id in errors) or is_text_of_error(value, errors, texts)
            for value in values
        )
    if isinstance(node, ast.BoolOp):
        return any(is_text_of_error(value, errors, texts) for value in node.values)
    if isinstance(node, ast.BinOp):
        return any(is_text_of_error(value, errors, texts) for value in (node.left, node.right))
    if isinstance(node, ast.Subscript):
        return is_text_of_error(node.value, errors, texts)
    if isinstance(node, ast.IfExp):
        return any(is_text_of_error(value, errors, texts) for value in (node.body, node.orelse))
    return False


def assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Return the value and the name of an assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=True)
            else:
                yield target, node.value
    elif isinstance(node, ast.NamedExpr | ast.AnnAssign | ast.AugAssign) and node.value is not None:
        yield node.target, node.value


def texts_in(function: ast.AST, errors: set[str]) -> set[str]:
    """Return the names that are bound to texts of errors in a function."""
    texts = {
        node.arg
        for node in ast.walk(function)
        if isinstance(node, ast.arg)
        and node.arg in CALLED_ERRORS
        and node.annotation is not None
        and ast.unparse(node.annotation) == "str"
    }
    while True:
        found = {
            target.id
            for node in ast.walk(function)
            for target, value in assigned(node)
            if isinstance(target, ast.Name) and is_text_of_error(value, errors, texts)
        }
        for node in ast.walk(function):  # each fault of an error is a text, unless its attributes are used
            if isinstance(node, ast.For | ast.comprehension) and "fault" in last_name(node.iter):
                found |= {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}
        if found <= texts:
            return texts
        texts |= found


def is_decision(node: ast.AST, errors: set[str], texts: set[str]) -> bool:
    """Return whether the text of an error is tested."""

    def of_error(part: ast.AST) -> bool:
        return is_text_of_error(part, errors, texts)

    if isinstance(node, ast.Compare):
        if all(isinstance(how, ast.Is | ast.IsNot) for how in node.ops):
            return False
        return any(of_error(part) for part in (node.left, *node.comparators))
    if isinstance(node, ast.Match):
        return of_error(node.subject)
    if isinstance(node, ast.Subscript):
        return of_error(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        method = node.func.attr
        if method in ASKED and of_error(node.func.value):
            return not (method == "split" and not node.args)  # normalizes white space only; see below
        given = node.args[:1] if method == "get" else node.args  # chooses a default to be shown
        return method in ASKED_OF and any(of_error(one) for one in given)
    return False


def decisions(module: ast.Module) -> list[str]:
    """Return line number and code of each decision by the text of an error."""
    found = {}
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef):
            continue
        errors = errors_in(function)
        texts = texts_in(function, errors)
        for node in ast.walk(function):
            first_word = (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Attribute)
                and node.value.func.attr == "split"
                and is_text_of_error(node.value.func.value, errors, texts)
            )
            if first_word or is_decision(node, errors, texts):
                assert isinstance(node, ast.expr | ast.stmt)
                found[node.lineno] = f"{function.name}:{node.lineno}: {ast.unparse(node)[:100]}"
    return [found[line] for line in sorted(found)]


@pytest.mark.parametrize("room", MODULES)
def test_no_code_decides_by_the_text_of_an_error(room: str) -> None:
    found = [line for line in decisions(tree(room)) if f"{room}.{line.partition(':')[0]}" not in EXCEPTIONS]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(e: Exception):\n if 'exchange' in str(e): pass",
        "def f():\n try: pass\n except OSError as broken:\n  return str(broken) == 'x'",
        "def f():\n try: pass\n except OSError as broken:\n  return broken.args[0] == 'x'",
        "def f(error):\n said = str(error)\n return said.startswith('NOAUTH')",
        "def f(error):\n code, said = error.code, str(error)\n return 'x' in said",
        "def f(error):\n return PATTERN.search(str(error))",
        "def f(error):\n return re.match('x', f'{error}')",
        "def f(error):\n return str(error).split()[0]",
        "def f(error):\n return REMEDIES.get(str(error).lower(), '')",
        "def f(error):\n return REMEDIES[error.strerror]",
        "def f(error):\n match str(error):\n  case 'x': pass",
        "def f(fault: str):\n return 'cannot use' in fault",
        "def f(error):\n return [line for line in error.faults if 'in use' in line]",
        "def f(error):\n for line in error.faults:\n  a, _, b = line.rpartition('; ')",
        "def f(error):\n return [line for line in fault_lines(error) if NAMES.findall(line)]",
    ],
)
def test_a_decision_by_text_is_found(code: str) -> None:
    assert decisions(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "def f(error):\n return str(error) or type(error).__name__",
        "def f(error):\n return ' '.join(str(error).split())[:160]",
        "def f(error):\n return error.reply_code == 404",
        "def f(error: OSError):\n return error.errno == 98",
        "def f(error):\n log.warning('lost', error=str(error))",
        "def f(error):\n return TEXTS.get(error.reply_code, str(error))",
        "def f(error):\n return isinstance(error, OSError) and error is not None",
        "def f(name: str):\n return 'exchange' in name",
    ],
)
def test_showing_a_text_is_not_a_decision(code: str) -> None:
    assert not decisions(ast.parse(code))


def test_every_exception_is_still_needed() -> None:
    found = {f"{room}.{line.partition(':')[0]}" for room in MODULES for line in decisions(tree(room))}
    assert set(EXCEPTIONS) <= found
