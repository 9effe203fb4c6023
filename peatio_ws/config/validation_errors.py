"""Translates pydantic's errors into texts about environment variables."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from peatio_ws.errors import Fault


class SeveralFaults(ValueError):
    """Faults that concern several variables, for pydantic's validators of a whole model.

    Args:
        faults: all of them.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def faults_of(error: ValidationError) -> list[Fault]:
    """Return the faults in a validation error, each with its variables."""
    return [fault for found in error.errors(include_url=False) for fault in _faults(found)]


def _faults(found: Any) -> list[Fault]:
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, SeveralFaults):
        return cause.faults
    name = str(found["loc"][0]) if found["loc"] else ""
    return [Fault(_line(found, name, cause), (name,) if name else ())]


def _line(fault: Any, name: str, cause: Any) -> str:
    text = str(fault["msg"])
    if isinstance(cause, ValueError):  # raised by our own validator
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
"""Texts by pydantic's error type."""


def shown(value: object) -> str:
    """Return a wrong value for an error text: one short line, because the value may be a whole file by mistake."""
    text = (str(value).splitlines() or [""])[0][:60]
    return text if text == str(value) else f"{text}…"
