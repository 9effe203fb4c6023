"""The order books that a client maintains: which need a new snapshot, and which are late. Knows no socket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from peatio_client._commands import Tell
from peatio_client.books import Book, Depth, Every, Outcome, View
from peatio_client.events import Event

SNAPSHOT_SECONDS: Final = 1.0
"""Shortest time between two requests for snapshots, because the message rate is limited."""

LATE_SECONDS: Final = 10.0
"""A book that has not arrived by then is reported: its market may not exist."""


class Shelf:
    """Order books by name. Other threads may add books.

    Args:
        view: the view of books for which the user specifies none.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._books: dict[str, Book] = {}
        self._holes: dict[str, None] = {}  # names of books that need a new snapshot
        self._due = 0.0
        self._awaited: dict[str, float | None] = {}  # names of books, and since when the client waits for them

    def put(self, market: str, every: Every | None = None, depth: Depth | None = None) -> tuple[Book, str | None]:
        """Return the book of a market, from now on at this pace and depth, and the stream that it came from before if
        that was another one. Create the book if necessary.

        Raises:
            ValueError: the gateway has no such pace or depth.
        """
        view = self._view if every is None and depth is None else View(every, depth)
        view.check()
        name = market if "." in market else f"{market}.ob"
        stream = view.stream(name)
        book = self._books.setdefault(name, Book(name, stream))
        if not book.current:
            self._awaited.setdefault(name, None)
        if book.stream == stream:
            return book, None
        before, book.stream, book.current = book.stream, stream, False
        return book, before

    def miss(self, book: Book) -> None:
        """Request a new snapshot of a book."""
        self._holes[book.name] = None

    def drop(self, stream: str) -> None:
        """Remove the book of a stream."""
        book = self._books.get(stream.rpartition("-")[0])
        if book is not None and book.stream == stream:
            del self._books[book.name]
            self._awaited.pop(book.name, None)
            book.current = False

    def take(self, event: Event[Any]) -> Iterator[Tell]:
        """Apply an event to its book."""
        name, _, kind = event.stream.rpartition("-")
        book = self._books.get(name)
        if book is None or (event.stream != book.stream and (kind != "snap" or "-top@" in book.stream)):
            return
        apply = book.snapshot
        if kind.startswith("inc"):
            apply = book.increment if kind == "inc" else book.changes
        was_current = book.current
        try:
            outcome = apply(event.data)
        except ValueError as error:
            book.current = False
            yield Tell("error", f"{event.stream}: {error}")
        else:
            if outcome is Outcome.CHANGED:
                self._awaited.pop(name, None)
                yield Tell("book", book)
            if outcome is Outcome.HOLE:
                self.miss(book)
        if was_current and not book.current:
            yield Tell("stale", book)

    def late(self, now: float) -> Iterator[Tell]:
        """Report books that have not arrived, each once per connection."""
        for name, since in list(self._awaited.items()):
            if since is None:
                self._awaited[name] = now
            elif now - since >= LATE_SECONDS and (book := self._books.get(name)) is not None:
                self._awaited.pop(name, None)
                yield Tell("error", f"{book.stream}: no order book within {LATE_SECONDS:g} s; is the name right?")

    def seconds(self, now: float) -> float:
        """Return the seconds until snapshots have to be requested, or a book is late; infinite for never."""
        late = min((since for since in list(self._awaited.values()) if since is not None), default=math.inf)
        return min(self._due - now if self._holes else math.inf, late + LATE_SECONDS - now)

    def to_ask(self, now: float) -> list[str]:
        """Return the streams of all books that need a new snapshot, at most once per `SNAPSHOT_SECONDS`."""
        if not self._holes or self._due > now:
            return []
        names = list(self._holes)  # another thread may add one
        for name in names:
            self._holes.pop(name, None)
        books = [self._books.get(name) for name in names]
        streams = [book.stream for book in books if book is not None and not book.current]
        if streams:
            self._due = now + SNAPSHOT_SECONDS
        return streams

    def lose(self) -> list[Book]:
        """Mark all books as stale after the end of a connection; return those that were current."""
        self._holes.clear()
        self._awaited = dict.fromkeys(list(self._books))
        lost = [book for book in list(self._books.values()) if book.current]
        for book in lost:
            book.current = False
        return lost
