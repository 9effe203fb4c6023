"""One order book: reads levels from the bodies of snapshots and increments, keeps them sorted, and renders a body.

Prices are compared as decimals. Prices and volumes are kept as the JSON texts that the publisher wrote, so no digit
changes. Reads sequence numbers, but does not know which number is due (`sync.py`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

FEW_LEVELS: Final = 16
"""Up to this number, changes are looked up one by one; more are merged, so that no body takes quadratic time."""


class _Wire(msgspec.Struct, gc=False):
    asks: msgspec.Raw = msgspec.Raw()
    bids: msgspec.Raw = msgspec.Raw()
    sequence: msgspec.Raw = msgspec.Raw()


Level: TypeAlias = tuple[str, str, str, str]
"""Quote (or nothing), price, quote (or nothing), volume."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A body that is a book, or changes one."""

    asks: list[Level]
    bids: list[Level]
    number: str
    sequence: int | None
    has_sides: bool


_decode_wire = msgspec.json.Decoder(_Wire).decode

# Bounded and without backtracking, so that refusing a text never takes long and no Decimal grows large.
_NUMBER: Final = r"-?[0-9]{1,64}+(?:\.[0-9]{1,64}+)?+(?:[eE][+-]?[0-9]{1,2}+)?+"
_SPACE: Final = r"[ \t\n\r]*+"
_VALUE: Final = rf'(?:"{_NUMBER}"|{_NUMBER})'
_PAIR: Final = rf"\[{_SPACE}{_VALUE}{_SPACE},{_SPACE}{_VALUE}{_SPACE}\]"
_is_side = re.compile(rf"(?:null)?+|{_PAIR}|\[{_SPACE}(?:{_PAIR}{_SPACE}(?:,{_SPACE}{_PAIR}{_SPACE})*+)?+\]").fullmatch
_levels_in = re.compile(rf'\[{_SPACE}("?)({_NUMBER})"?{_SPACE},{_SPACE}("?)({_NUMBER})').findall
_is_sequence = re.compile(r'-?[0-9]{1,64}+|"[0-9]{1,64}+"').fullmatch


def read(body: bytes) -> Change | None:
    """Return the levels in a body; None if it has another shape."""
    try:
        wire = _decode_wire(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    asks, bids = str(wire.asks, "ascii", "replace"), str(wire.bids, "ascii", "replace")
    number = str(wire.sequence, "ascii", "replace")
    if not (asks or bids or number) or not _is_side(asks) or not _is_side(bids):
        return None
    if not _is_sequence(number):
        number = ""
    sequence = int(number.strip('"')) if number else None
    return Change(_levels_in(asks), _levels_in(bids), number, sequence, bool(asks or bids))


class Book:
    """Asks and bids, and the sequence of the last change as its publisher wrote it; empty if it had none."""

    __slots__ = ("asks", "bids", "number")

    def __init__(self, snapshot: Change) -> None:
        self.asks, self.bids = _Side(), _Side()
        self.apply(snapshot)

    def apply(self, change: Change) -> None:
        self.asks.change(change.asks)
        self.bids.change(change.bids)
        self.number = change.number

    def render(self) -> bytes:
        return rendered(self.asks.levels, reversed(self.bids.levels), self.number)


def rendered(asks: Iterable[str], bids: Iterable[str], number: str, more: str = "") -> bytes:
    """Return the body of a book, or of changes to one.

    Args:
        asks, bids: levels as JSON, in the order of the body.
        number: the sequence as published; empty without one.
        more: further fields, each with a comma before it.
    """
    sequence = f',"sequence":{number}' if number else ""
    return f'{{"asks":[{",".join(asks)}],"bids":[{",".join(bids)}]{sequence}{more}}}'.encode()


class _Side:
    """One side of a book: ascending prices, and a parallel list of the levels as JSON, `["15.0","22.5"]`.

    Two lists instead of a dict: hashing a Decimal takes longer than finding it among a thousand.
    """

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.prices: list[Decimal] = []
        self.levels: list[str] = []

    def change(self, changes: list[Level]) -> None:
        """Set each price to its volume, or remove it if the volume is zero, in this order."""
        rows = [
            (Decimal(price), f"[{quote}{price}{quote},{quote2}{volume}{quote2}]" if Decimal(volume) else "")
            for quote, price, quote2, volume in changes
        ]
        if len(rows) > FEW_LEVELS:
            self._merge(rows)
            return
        prices, levels = self.prices, self.levels
        for price, level in rows:
            place = bisect_left(prices, price)
            if place == len(prices) or prices[place] != price:
                if level:
                    prices.insert(place, price)
                    levels.insert(place, level)
            elif level:
                levels[place] = level
            else:
                del prices[place], levels[place]

    def _merge(self, rows: list[tuple[Decimal, str]]) -> None:
        merged = [*zip(self.prices, self.levels, strict=True), *rows]
        merged.sort(key=itemgetter(0))  # stable: of equal prices the last one stays last
        prices: list[Decimal] = []
        levels: list[str] = []
        for price, level in merged:
            if prices and prices[-1] == price:
                levels[-1] = level
            else:
                prices.append(price)
                levels.append(level)
        self.prices = [price for price, level in zip(prices, levels, strict=True) if level]
        self.levels = [level for level in levels if level]
