"""The tree of exceptions, and the policy that an exception carries."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from peatio_ws import errors
from peatio_ws.errors import (
    AuthenticationError,
    BadDelivery,
    ClientError,
    Delay,
    DeliveryFault,
    Disconnect,
    PeatioWsError,
    PublishError,
    Refused,
    TokenFault,
    TryLater,
)
from tests.unit.test_architecture import MODULES, ROOT, tree

EXCEPTIONS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]  # fmt: skip
ONE_OF_EACH = [
    *map(BadDelivery, DeliveryFault),
    *(AuthenticationError("any words", fault) for fault in TokenFault),
    *(TryLater(delay, 5) for delay in Delay),
    Refused("403 Forbidden", "No."),
    ClientError("no such market"),
    PublishError("the broker is unreachable"),
    Disconnect(4000, "bye"),
]
LEVELS = {"debug", "info", "warning", "error", "critical", None}


def raised_classes() -> set[str]:
    """Return the exceptions that the package defines."""
    names: dict[str, list[str]] = {}
    for module in MODULES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ClassDef):
                names[node.name] = [ast.unparse(base) for base in node.bases]
    found = {name for name, bases in names.items() if any(base.endswith(("Error", "Exception")) for base in bases)}
    while more := {name for name, bases in names.items() if found & set(bases)} - found:
        found |= more
    return found


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_of_the_module_is_in_the_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, PeatioWsError)


def test_diagram_contains_every_exception() -> None:
    drawn = set(re.findall(r"[A-Z]\w+", str(errors.__doc__)))
    assert {name for name in raised_classes() if not name.startswith("_")} <= drawn


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=repr)
def test_exception_carries_its_policy(error: PeatioWsError) -> None:
    assert error.code is not None
    assert error.text
    assert str(error)
    assert error.level in LEVELS
    assert bool(error.level) <= bool(error.event and error.label), "a logged exception needs an event and a counter"


def test_labels_are_those_of_the_documents() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for error in ONE_OF_EACH:
        if isinstance(error, BadDelivery | AuthenticationError | TryLater):
            assert f"`{error.label}`" in page
