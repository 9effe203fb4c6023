"""What is wrong with a variable of the environment, in an operator's words instead of pydantic's."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


def fault_lines(error: ValidationError) -> list[str]:
    """Each fault as a line that names its variable."""
    return [line for fault in error.errors(include_url=False) for line in _line(fault).split("\n")]


def _line(fault: Any) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else ""
    text = fault["msg"].removeprefix("Value error, ")
    if not name:
        return str(text)
    if not name.isupper():
        return f"{name}: {text}"
    if fault["type"] == "value_error":
        return f"{name} {text}"
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
