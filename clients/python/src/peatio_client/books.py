"""An order book, kept from its snapshot and increments and checked by their `sequence`. Knows no connection."""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

Level: TypeAlias = tuple[Decimal, Decimal]
"""Price and volume, with the digits that their publisher wrote."""


RESTART = 3
"""So many increments in a row that count upwards from below are a publisher whose sequence starts again."""


class Outcome(enum.Enum):
    """What a frame did to a book."""

    CHANGED = "changed"
    IGNORED = "ignored"
    """It is in the book already."""
    HOLE = "hole"
    """Something is missing before it, or the sequence starts again: a new snapshot is needed."""


class Book:
    """What is on offer in a market. `PeatioClient.book()` makes one and keeps it, on the thread of `run()` or of the
    loop: there, and in callbacks, it is to be read.

    Attributes:
        name: of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`.
        current: whether it is right. Not before the first snapshot, nor after a hole in the sequence or the end of a
            connection until the next one. What was in it can be read meanwhile.
        sequence: that of the last change; None if the publisher does not number them: then no hole can be seen.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.current = False
        self.sequence: int | None = None
        self._asks, self._bids = _Side(), _Side()
        self._latest: int | None = None  # number of the last increment, however old it was
        self._behind = 0  # increments in a row that were ignored and count upwards

    @property
    def asks(self) -> list[Level]:
        """Best first: ascending."""
        return list(self._asks)

    @property
    def bids(self) -> list[Level]:
        """Best first: descending."""
        return list(reversed(list(self._bids)))

    @property
    def best_ask(self) -> Level | None:
        """None if nobody sells."""
        return self._asks.at(0)

    @property
    def best_bid(self) -> Level | None:
        """None if nobody buys."""
        return self._bids.at(-1)

    def snapshot(self, body: Any) -> Outcome:
        """Begin anew with what a `-snap` frame says.

        Raises:
            ValueError: it is no book; nothing was changed.
        """
        asks, bids, sequence = _read(body)
        self._asks, self._bids = _Side(), _Side()
        return self._apply(asks, bids, sequence)

    def increment(self, body: Any) -> Outcome:
        """Change what an `-inc` frame says, if it follows.

        Raises:
            ValueError: it is no change of a book; nothing was changed.
        """
        asks, bids, sequence = _read(body)
        if not self.current:
            return Outcome.HOLE
        if sequence is not None and self.sequence is not None:
            if sequence <= self.sequence:
                return self._look_back(sequence)
            if sequence > self.sequence + 1:
                self.current = False
                return Outcome.HOLE
        self._latest = sequence
        return self._apply(asks, bids, sequence)

    def _look_back(self, sequence: int) -> Outcome:
        """Tell an increment that is in the book already from the third of a sequence that starts again.

        One that goes on from the increment before was overtaken by a snapshot, and does not count.
        """
        goes_on = self._latest is not None and sequence == self._latest + 1
        if self._behind or not goes_on:
            self._behind = self._behind + 1 if goes_on else 1
        self._latest = sequence
        if self._behind < RESTART:
            return Outcome.IGNORED
        self.current = False
        return Outcome.HOLE

    def _apply(self, asks: list[Level], bids: list[Level], sequence: int | None) -> Outcome:
        self._asks.change(asks)
        self._bids.change(bids)
        self.sequence, self.current, self._behind = sequence, True, 0
        return Outcome.CHANGED


class _Side:
    """Levels by price, ascending."""

    def __init__(self) -> None:
        self._prices: list[Decimal] = []
        self._levels: dict[Decimal, Level] = {}  # equal decimals are one key, however they are written

    def __iter__(self) -> Iterator[Level]:
        return (self._levels[price] for price in self._prices)

    def at(self, place: int) -> Level | None:
        return self._levels[self._prices[place]] if self._prices else None

    def change(self, levels: list[Level]) -> None:
        for price, volume in levels:
            known = price in self._levels
            if volume:
                self._levels[price] = (price, volume)
                if not known:
                    self._prices.insert(bisect_left(self._prices, price), price)
            elif known:
                del self._levels[price]
                del self._prices[bisect_left(self._prices, price)]


def _read(body: Any) -> tuple[list[Level], list[Level], int | None]:
    try:
        sequence = body.get("sequence")
        return _levels(body.get("asks")), _levels(body.get("bids")), None if sequence is None else int(sequence)
    except (AttributeError, TypeError, ValueError, InvalidOperation):
        raise ValueError("a body that is no order book") from None


def _levels(side: Any) -> list[Level]:
    """Of a flat `[price, volume]`, or a list of such pairs."""
    pairs = [side] if side and not isinstance(side[0], list) else side or []
    return [(_number(price), _number(volume)) for price, volume in pairs]


def _number(value: Any) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("no number")
    return number
