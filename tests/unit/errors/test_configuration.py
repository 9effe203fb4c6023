"""Faults of the environment."""

from __future__ import annotations

from peatio_ws.errors import ConfigurationError, Fault, FaultCode


def test_configuration_error_has_one_line_per_fault() -> None:
    error = ConfigurationError(["A is wrong", "B is missing"])
    assert error.faults == [Fault("A is wrong"), Fault("B is missing")]
    assert str(error) == "A is wrong\nB is missing"


def test_fault_has_variables_and_a_remedy() -> None:
    fault = Fault("PORT=80: in use", ("PORT",), "take another", FaultCode.ADDRESS_IN_USE)
    assert str(ConfigurationError([fault])) == "PORT=80: in use; take another"
    assert ConfigurationError([fault]).faults == [fault]
