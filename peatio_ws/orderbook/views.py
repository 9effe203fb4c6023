"""What the views of an order book contain: the changes of some time in one body, and the best levels (contract section
8).

Pure. Knows no stream, no subscriber and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from peatio_ws.orderbook.book import Book, Change, Level, rendered


class BookCopy:
    """A book as it was at a moment: the followers of a view begin with it, and the next changes continue it.

    Attributes:
        number: the sequence of the last change in it, as published; empty without one.
    """

    __slots__ = ("_asks", "_bids", "number")

    def __init__(self, book: Book) -> None:
        self._asks, self._bids, self.number = book.asks.levels.copy(), book.bids.levels.copy(), book.number

    def render(self) -> bytes:
        """Return the body of a snapshot."""
        return rendered(self._asks, reversed(self._bids), self.number)


def changes_since(before: BookCopy, changes: list[Change]) -> bytes:
    """Return one body for the changes since a copy: the last volume of each price, with the digits as published.

    Args:
        before: the copy; its number becomes `previous`.
        changes: in the order in which they were applied; at least one.
    """
    asks = _last_levels(change.asks for change in changes)
    bids = _last_levels(change.bids for change in changes)
    number = changes[-1].number
    previous = f',"previous":{before.number}' if number and before.number else ""
    ascending, descending = (
        (asks[price] for price in sorted(asks)),
        (bids[price] for price in sorted(bids, reverse=True)),
    )
    return rendered(ascending, descending, number, previous)


def top_of(book: Book, levels: int) -> bytes:
    """Return a body with the best levels of each side.

    Args:
        levels: how many of each side, at least 1.
    """
    return rendered(book.asks.levels[:levels], reversed(book.bids.levels[-levels:]), book.number)


def _last_levels(changes: Iterable[list[Level]]) -> dict[Decimal, str]:
    return {
        Decimal(price): f"[{quote}{price}{quote},{quote2}{volume}{quote2}]"
        for levels in changes
        for quote, price, quote2, volume in levels
    }
