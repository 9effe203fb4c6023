"""Reads frames. Publishers choose the numbers in them, so none is too large to be read. Knows no protocol."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any


def read(text: str) -> Any:
    """Return the value that a JSON text describes, with numbers with a fraction as `Decimal`.

    An integer of more digits than Python converts (4,300) is a `Decimal`, too. A number with an exponent that `Decimal`
    does not have is infinite or zero.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: it is too deep.
    """
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError:
        raise
    except (ValueError, InvalidOperation):
        return json.loads(text, parse_float=_decimal, parse_int=_integer)


def _decimal(number: str) -> Decimal:
    try:
        return Decimal(number)
    except InvalidOperation:
        return Decimal(float(number))


def _integer(number: str) -> int | Decimal:
    try:
        return int(number)
    except ValueError:
        return Decimal(number)
