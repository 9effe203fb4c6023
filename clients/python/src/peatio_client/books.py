"""An order book from a snapshot and increments, checked by their `sequence`, and the streams it can come from. Knows no
connection.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

Level: TypeAlias = tuple[Decimal, Decimal]
"""Price and volume, with the digits as published."""
Every: TypeAlias = Literal[0, 100, 250, 500, 1000, 2000, 5000]
"""Milliseconds between two changes of a book, at least; 0 for each change as published."""
Depth: TypeAlias = Literal[1, 5, 10, 20, 50]
"""Levels of each side of a book."""

_EVERY: Final = get_args(Every)
_DEPTHS: Final = get_args(Depth)

RESTART = 3
"""This many consecutive increments with old, rising numbers mean that the publisher's sequence restarted."""


class Outcome(enum.Enum):
    """The effect of a frame on a book."""

    CHANGED = "changed"
    IGNORED = "ignored"
    """The book already contains it."""
    HOLE = "hole"
    """Increments are missing before it, or the sequence restarted: a new snapshot is needed."""


class View(NamedTuple):
    """The pace and the depth at which a client receives a book.

    Attributes:
        every: None for each change, or, with a depth, for the gateway's pace of 500 ms.
        depth: None for the whole book.
    """

    every: Every | None = None
    depth: Depth | None = None

    def check(self) -> None:
        """Check that the gateway has this view.

        Raises:
            ValueError: it does not.
        """
        if self.every is not None and self.every not in _EVERY:
            raise ValueError(f"every={self.every!r}: has to be one of {', '.join(map(str, _EVERY))} milliseconds")
        if self.depth is not None and self.depth not in _DEPTHS:
            raise ValueError(f"depth={self.depth!r}: has to be one of {', '.join(map(str, _DEPTHS))} levels")
        if self.depth is not None and self.every == 0:
            raise ValueError(f"every=0: with a depth, has to be at least {_EVERY[1]} milliseconds")

    def stream(self, name: str) -> str:
        """Return the stream of this view of a book."""
        if self.depth is not None:
            return f"{name}-top@{self.depth}" + (f"/{self.every}ms" if self.every else "")
        return f"{name}-inc" + (f"@{self.every}ms" if self.every else "")


EVERY_CHANGE: Final = View()
"""The whole book, with each change."""


class Book:
    """The order book of a market. `PeatioClient.book()` creates it and maintains it on the thread of `run()` or of the
    loop. Read it there, or in callbacks.

    Attributes:
        name: name of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`.
        stream: the stream that it comes from: `btcusd.ob-inc`, or a view (`btcusd.ob-inc@250ms`, `btcusd.ob-top@20`).
        current: whether the book is correct. False before the first snapshot, and after a gap in the sequence or the
            end of a connection until the next snapshot. The last state can still be read in the meantime.
        sequence: number of the last change; None if the publisher does not number changes, so that gaps cannot be
            detected.
    """

    def __init__(self, name: str, stream: str | None = None) -> None:
        self.name, self.stream = name, stream or f"{name}-inc"
        self.current = False
        self.sequence: int | None = None
        self._asks, self._bids = _Side(), _Side()
        self._latest: int | None = None  # number of the last increment, even if it was an old one
        self._behind = 0  # consecutive ignored increments with rising numbers

    @property
    def market(self) -> str:
        """Return the market: `btcusd`."""
        return self.name.removesuffix(".ob")

    @property
    def asks(self) -> list[Level]:
        """Return the asks, best first (ascending)."""
        return list(self._asks)

    @property
    def bids(self) -> list[Level]:
        """Return the bids, best first (descending)."""
        return list(reversed(list(self._bids)))

    @property
    def best_ask(self) -> Level | None:
        """Return the lowest ask, or None if there are no asks."""
        return self._asks.at(0)

    @property
    def best_bid(self) -> Level | None:
        """Return the highest bid, or None if there are no bids."""
        return self._bids.at(-1)

    def snapshot(self, body: Any) -> Outcome:
        """Replace the book by the body of a `-snap` or `-top@…` frame.

        Raises:
            ValueError: the body is not a book; nothing was changed.
        """
        asks, bids, sequence = _read(body)
        self._asks, self._bids = _Side(), _Side()
        return self._apply(asks, bids, sequence)

    def increment(self, body: Any) -> Outcome:
        """Apply the body of an `-inc` frame, if it follows the last one.

        Raises:
            ValueError: the body is not a change of a book; nothing was changed.
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

    def changes(self, body: Any) -> Outcome:
        """Apply the body of an `-inc@…` frame, if it continues the book: the last volume of each price that changed.

        Raises:
            ValueError: the body is not a change of a book; nothing was changed.
        """
        asks, bids, sequence = _read(body)
        if not self.current:
            return Outcome.HOLE
        previous = _whole_number(body.get("previous"))
        if sequence is not None and previous is not None and self.sequence is not None:
            if sequence <= self.sequence:
                return Outcome.IGNORED
            if previous > self.sequence:
                self.current = False
                return Outcome.HOLE
        return self._apply(asks, bids, sequence)

    def _look_back(self, sequence: int) -> Outcome:
        """Distinguish an increment that the book already contains from the third one of a restarted sequence.

        An increment that follows the previous one was overtaken by a snapshot, and does not count.
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
    """The levels of one side by price, ascending."""

    def __init__(self) -> None:
        self._prices: list[Decimal] = []
        self._levels: dict[Decimal, Level] = {}  # equal decimals are one key, however they were written

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
        return _levels(body.get("asks")), _levels(body.get("bids")), _whole_number(body.get("sequence"))
    except (AttributeError, TypeError, ValueError, InvalidOperation):
        raise ValueError("the body is not an order book") from None


def _levels(side: Any) -> list[Level]:
    """Return the levels of a flat `[price, volume]`, or of a list of such pairs."""
    if side is None:
        return []
    if not isinstance(side, list):
        raise ValueError("no side of a book")
    pairs = [side] if side and not isinstance(side[0], list) else side
    if not all(isinstance(pair, list) for pair in pairs):
        raise ValueError("no level of a book")
    return [(_number(price), _number(volume)) for price, volume in pairs]


def _whole_number(value: Any) -> int | None:
    if isinstance(value, Decimal):
        raise ValueError("no whole number")
    return None if value is None else int(value)


def _number(value: Any) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("no number")
    return number
