"""The tree of exceptions and the table of close codes."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws import errors
from peatio_ws.errors import REASONS, Close, ConfigurationError, Disconnect, Fault, FaultCode, PeatioWsError, Refused

EXCEPTIONS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]  # fmt: skip

MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_is_in_the_tree_and_in_its_drawing(kind: type[Exception]) -> None:
    assert issubclass(kind, PeatioWsError)
    assert kind.__name__ in str(errors.__doc__)


def test_the_close_codes_are_the_documented_ones() -> None:
    assert set(Close) == {1000, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4413}


@pytest.mark.parametrize("code", Close)
def test_every_code_has_a_reason_that_fits_into_a_close_frame(code: Close) -> None:
    assert len(REASONS[code].encode()) <= 123


def test_a_restart_tells_the_seconds_to_wait() -> None:
    words, _, seconds = REASONS[Close.RESTART].rpartition(" ")
    assert words == "restart; retry after"
    assert int(seconds) > 0


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


@given(st.integers(-10, 70_000).filter(lambda code: code not in MAY_BE_SENT) | st.sampled_from([1016, 2000, 2999]))
def test_no_code_that_the_rfc_reserves_can_be_sent(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Disconnect(code)
