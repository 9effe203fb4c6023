"""The order books that a client maintains, and which of them need a new snapshot. Knows no socket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from peatio_client._commands import Tell
from peatio_client.books import Book, Outcome
from peatio_client.events import Event

SNAPSHOT_SECONDS: Final = 1.0
"""Shortest time between two requests for snapshots, because the message rate is limited."""


class Shelf:
    """Order books by name. Other threads may add books."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}
        self._holes: dict[str, None] = {}  # names of books that need a new snapshot
        self._due = 0.0

    def put(self, market: str) -> Book:
        """Return the book of a market; create it if necessary."""
        name = market if "." in market else f"{market}.ob"
        return self._books.setdefault(name, Book(name))

    def miss(self, book: Book) -> None:
        """Request a new snapshot of a book."""
        self._holes[book.name] = None

    def drop(self, stream: str) -> None:
        """Remove the book of a stream."""
        if book := self._books.pop(stream.removesuffix("-inc"), None):
            book.current = False

    def take(self, event: Event[Any]) -> Iterator[Tell]:
        """Apply an event to its book."""
        name, _, kind = event.stream.rpartition("-")
        book = self._books.get(name)
        if book is None or kind not in ("snap", "inc"):
            return
        was_current = book.current
        try:
            outcome = book.snapshot(event.data) if kind == "snap" else book.increment(event.data)
        except ValueError as error:
            book.current = False
            yield Tell("error", f"{event.stream}: {error}")
        else:
            if outcome is Outcome.CHANGED:
                yield Tell("book", book)
            if outcome is Outcome.HOLE:
                self.miss(book)
        if was_current and not book.current:
            yield Tell("stale", book)

    def seconds(self, now: float) -> float:
        """Return the seconds until snapshots have to be requested; infinite if none are needed."""
        return self._due - now if self._holes else math.inf

    def to_ask(self, now: float) -> list[str]:
        """Return the streams of all books that need a new snapshot, at most once per `SNAPSHOT_SECONDS`."""
        if self.seconds(now) > 0:
            return []
        books = [self._books[name] for name in self._holes if name in self._books]
        streams = [f"{book.name}-inc" for book in books if not book.current]
        self._holes.clear()
        if streams:
            self._due = now + SNAPSHOT_SECONDS
        return streams

    def lose(self) -> list[Book]:
        """Mark all books as stale after the end of a connection; return those that were current."""
        self._holes.clear()
        lost = [book for book in list(self._books.values()) if book.current]
        for book in lost:
            book.current = False
        return lost
