"""The tree of exceptions, and what an exception carries."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws import errors
from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import ConfigurationError, Disconnect, Fault, FaultCode, PeatioWsError, Refused

EXCEPTIONS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]  # fmt: skip

MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_is_in_the_tree_and_in_its_drawing(kind: type[Exception]) -> None:
    assert issubclass(kind, PeatioWsError)
    assert kind.__name__ in str(errors.__doc__)


@pytest.mark.parametrize("code", Close)
def test_a_disconnect_without_a_reason_has_the_one_of_its_code(code: Close) -> None:
    assert Disconnect(code).reason == REASONS[code]


@given(st.sampled_from(sorted(MAY_BE_SENT)), st.text())
def test_a_disconnect_keeps_its_code_and_reason(code: int, reason: str) -> None:
    disconnect = Disconnect(code, reason)
    assert (disconnect.code, disconnect.reason) == (code, reason)


def test_a_private_code_without_a_reason_has_none() -> None:
    assert Disconnect(4999).reason == ""


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 5000, 65_536])
def test_a_code_that_must_not_be_on_the_wire_is_a_value_error(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Disconnect(code)


def test_a_configuration_error_reads_as_one_line_a_fault() -> None:
    error = ConfigurationError(["A is wrong", "B is missing"])
    assert error.faults == [Fault("A is wrong"), Fault("B is missing")]
    assert str(error) == "A is wrong\nB is missing"


def test_a_fault_names_its_variables_for_programs_and_its_remedy_for_people() -> None:
    fault = Fault("PORT=80: in use", ("PORT",), "take another", FaultCode.ADDRESS_IN_USE)
    assert str(ConfigurationError([fault])) == "PORT=80: in use; take another"
    assert ConfigurationError([fault]).faults == [fault]


def test_a_refusal_carries_what_an_http_answer_needs() -> None:
    refused = Refused("429 Too Many Requests", "Too many.", (("Retry-After", "5"),), Close.FULL)
    assert (refused.status, refused.text, refused.headers, refused.close) == (
        "429 Too Many Requests",
        "Too many.",
        (("Retry-After", "5"),),
        Close.FULL,
    )
