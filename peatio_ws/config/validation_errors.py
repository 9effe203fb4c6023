"""What is wrong with a variable of the environment, in an operator's words instead of pydantic's."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from peatio_ws.errors import Fault


class SeveralFaults(ValueError):
    """Faults of several variables together, for pydantic's validators of a whole model.

    Args:
        faults: all of them.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def faults_of(error: ValidationError) -> list[Fault]:
    """Each fault, with the variables that it is about."""
    return [fault for found in error.errors(include_url=False) for fault in _faults(found)]


def _faults(found: Any) -> list[Fault]:
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, SeveralFaults):
        return cause.faults
    name = str(found["loc"][0]) if found["loc"] else ""
    return [Fault(_line(found, name, cause), (name,) if name else ())]


def _line(fault: Any, name: str, cause: Any) -> str:
    text = str(fault["msg"])
    if isinstance(cause, ValueError):  # of a validator of ours
        return f"{name} {cause}" if name else str(cause)
    if not name:
        return text
    if not name.isupper():
        return f"{name}: {text}"
    words = _WORDS.get(fault["type"])
    limits = {
        key: f"{value:.12g}" if isinstance(value, float) else value for key, value in fault.get("ctx", {}).items()
    }
    text = words.format(**limits) if words else text[0].lower() + text[1:]
    return f"{name}={shown(fault['input'])}: {text}"


_WORDS = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a finite number",
    "bool_parsing": "is neither true nor false",
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be {ge} or more",
    "less_than_equal": "has to be {le} or less",
    "literal_error": "has to be {expected}",
}
"""pydantic's kinds of faults, in the words of an operator."""


def shown(value: object) -> str:
    """A wrong value as it may stand in one line: a slip can put a whole file into a variable."""
    text = (str(value).splitlines() or [""])[0][:60]
    return text if text == str(value) else f"{text}…"
