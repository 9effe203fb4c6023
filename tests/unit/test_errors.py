"""The tree of exceptions, and the policy that an exception carries."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws import errors
from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import (
    AuthenticationError,
    BadDelivery,
    ClientError,
    ConfigurationError,
    Delay,
    DeliveryFault,
    Disconnect,
    Fault,
    FaultCode,
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


MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


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


@pytest.mark.parametrize(
    ("error", "code"),
    [(Disconnect(4000), 4000), (ClientError("no"), Close.POLICY), (Refused("403 Forbidden", "No."), Close.POLICY)],
)
def test_error_that_ends_a_connection_has_a_close_code(error: PeatioWsError, code: int) -> None:
    assert error.close == code


@pytest.mark.parametrize("fault", TokenFault)
def test_every_fault_of_a_token_has_a_remedy(fault: TokenFault) -> None:
    assert AuthenticationError("any words", fault).remedy


def test_labels_are_those_of_the_documents() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    for error in ONE_OF_EACH:
        if isinstance(error, BadDelivery | AuthenticationError | TryLater):
            assert f"`{error.label}`" in page


def test_text_and_remedy_make_one_line_of_advice() -> None:
    advice = BadDelivery(DeliveryFault.ROUTING_KEY).advice
    assert advice.startswith("the routing key is invalid; use private.UID.EVENT, ")
    assert BadDelivery(DeliveryFault.JSON).advice == "the body is not JSON"


@pytest.mark.parametrize(("delay", "status"), [(Delay.NO_KEY, 503), (Delay.TOO_MANY_FAILURES, 429)])
def test_delay_is_answered_with_a_time_over_http(delay: Delay, status: int) -> None:
    refused = TryLater(delay, 7).refusal()
    assert (refused.code, refused.close, refused.headers) == (status, Close.FULL, (("Retry-After", "7"),))


@pytest.mark.parametrize("code", Close)
def test_disconnect_has_the_reason_of_its_code(code: Close) -> None:
    assert Disconnect(code).reason == REASONS[code]


@given(st.sampled_from(sorted(MAY_BE_SENT)), st.text())
def test_disconnect_keeps_its_code_and_reason(code: int, reason: str) -> None:
    disconnect = Disconnect(code, reason)
    assert (disconnect.code, disconnect.reason) == (code, reason)


def test_private_code_has_no_default_reason() -> None:
    assert Disconnect(4999).reason == ""


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 5000, 65_536])
def test_reserved_close_code_is_a_value_error(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Disconnect(code)


def test_configuration_error_has_one_line_per_fault() -> None:
    error = ConfigurationError(["A is wrong", "B is missing"])
    assert error.faults == [Fault("A is wrong"), Fault("B is missing")]
    assert str(error) == "A is wrong\nB is missing"


def test_fault_has_variables_and_a_remedy() -> None:
    fault = Fault("PORT=80: in use", ("PORT",), "take another", FaultCode.ADDRESS_IN_USE)
    assert str(ConfigurationError([fault])) == "PORT=80: in use; take another"
    assert ConfigurationError([fault]).faults == [fault]


def test_refusal_has_all_parts_of_an_http_answer() -> None:
    refused = Refused("429 Too Many Requests", "Too many.", (("Retry-After", "5"),), Close.FULL)
    assert (refused.status, refused.text, refused.headers, refused.close) == (
        "429 Too Many Requests",
        "Too many.",
        (("Retry-After", "5"),),
        Close.FULL,
    )
