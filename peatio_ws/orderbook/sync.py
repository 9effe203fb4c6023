"""The first frames for a new subscriber of an `-inc` stream: the book, kept up to date from snapshots and increments
(contract section 2, "Books").

One `BookSync` for each pair of `<name>-snap` and `<name>-inc`. It takes bodies, and returns bodies and a result per
increment. Prices and volumes stay the JSON texts that the publisher wrote. Knows neither the names of the streams, nor
the subscribers, nor where another worker's book comes from.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, Literal, TypeAlias

from peatio_ws.orderbook.book import Book, Change, read
from peatio_ws.orderbook.restarts import RestartDetector

INCREMENTS_KEPT: Final = 1_000
"""Limit of increments since a snapshot that is not a book; beyond it, the store waits for the next snapshot."""
INCREMENTS_REMEMBERED: Final = 10_000
"""Increments received without a book, kept for a book that another worker sends."""

Frame: TypeAlias = tuple[Literal["snap", "inc"], bytes]
"""The stream a body is sent on, and the body."""


class BookState(enum.Enum):
    EMPTY = "empty"
    """No snapshot or book so far."""
    CURRENT = "current"
    """New subscribers are served at once."""
    UNCONFIRMED = "unconfirmed"
    """A numbered book that is valid if the next increment follows it."""
    BROKEN = "broken"
    """Increments are missing: the store waits for a snapshot, or for another worker's book."""


class SyncResult(enum.Enum):
    """What to do with an increment. *Served* subscribers were sent `first_frames()`, *waiting* ones were not."""

    SEND = "send"
    """Send to the served subscribers."""
    CONFIRMED = "confirmed"
    """Send to the served subscribers. Send `first_frames()`, which include it, to the waiting ones."""
    RESTORED = "restored"
    """Send `first_frames()` to all subscribers instead: something is missing between the book that the served ones have
    and this increment, but the store has it by now."""
    HOLE = "hole"
    """Send to the served subscribers, who see the gap in its number. Count it. The store has just broken."""
    PASS_ON = "pass_on"
    """Send to the served subscribers. The store is broken, which was reported before."""
    RESTARTED = "restarted"
    """Send to the served subscribers, who see its number. Count it. The sequence starts again: the store held the book
    of an engine that has ended, and has just broken. Only a snapshot repairs it, no other worker's book."""
    STALE = "stale"
    """Drop: not newer than the last."""
    HELD = "held"
    """Drop: there has never been a snapshot."""

    @property
    def passes_on(self) -> bool:
        """Whether the served subscribers are sent the increment unchanged."""
        return self in _PASSED_ON


_PASSED_ON: Final = frozenset(
    (SyncResult.SEND, SyncResult.CONFIRMED, SyncResult.HOLE, SyncResult.RESTARTED, SyncResult.PASS_ON)
)


class BookSync:
    """The book of one pair of streams.

    Attributes:
        state: see `BookState`.
        sequence: of the last change in the book, even if the book broke later; None if it has no number.
        change: the last increment, if it could be read; else None.
    """

    __slots__ = (
        "_book",
        "_buffered",
        "_frames",
        "_in_step",
        "_opaque_frames",
        "_restarts",
        "_uninterrupted",
        "change",
        "sequence",
        "state",
    )

    def __init__(self) -> None:
        self.state = BookState.EMPTY
        self.sequence: int | None = None
        self.change: Change | None = None
        # At most one of the two is set: a book, or the frames of another shape.
        self._book: Book | None = None
        self._opaque_frames: list[Frame] = []
        self._frames: list[Frame] | None = None  # as last rendered
        self._in_step = True  # the served subscribers have what the store has
        # Numbered increments received while there was no valid book; None after one that has no place among them.
        self._buffered: deque[tuple[int, bytes]] | None = _empty_buffer()
        self._uninterrupted = False  # since the last of them was received
        self._restarts = RestartDetector()

    @property
    def current(self) -> bool:
        """Whether a new subscriber can be served right now."""
        return self.state is BookState.CURRENT

    @property
    def book(self) -> Book | None:
        """The book if it is current; None otherwise, or if it has another shape."""
        return self._book if self.state is BookState.CURRENT else None

    def snapshot(self, body: bytes) -> bool:
        """Replace the content, whatever its sequence: a publisher may start again from 0.

        Returns:
            Whether the store was not current before; then send `first_frames()` to all subscribers. Otherwise send
            nothing: if the snapshot does not follow the served subscribers' book, the next increment is `RESTORED`.
        """
        before, is_first = self.sequence, self.state is not BookState.CURRENT
        change = read(body)
        if change is None or not change.has_sides:
            self._reset(BookState.CURRENT, None, None)
            self._opaque_frames.append(("snap", body))
        else:
            self._reset(BookState.CURRENT, Book(change), change.sequence)
        if is_first:
            self._in_step = True
        elif before is not None and self.sequence is not None and before != self.sequence:
            self._in_step = False
        return is_first

    def increment(self, body: bytes) -> SyncResult:
        """Apply a change if it follows, and return what to send to which subscribers."""
        change = self.change = None if self._opaque_frames else read(body)
        sequence = None if change is None else change.sequence
        if self.state is BookState.EMPTY or self.state is BookState.BROKEN:
            return self._buffer(sequence, body)
        if sequence is not None and self.sequence is not None:
            if sequence <= self.sequence:
                return self._on_old(sequence, body)
            if sequence > self.sequence + 1:
                return self._on_hole(sequence, body)
        elif self.state is BookState.UNCONFIRMED:
            return self._on_hole(None, body)  # a change without a number confirms nothing
        if change is None:
            return self._append(body)
        if self._book is not None:
            self._book.apply(change)
        self.sequence = sequence
        self._restarts.on_new(sequence, body)
        return self._on_applied()

    def first_frames(self) -> list[Frame]:
        """Return what to send a new subscriber; nothing unless the store is current. Cached until the next change."""
        if self.state is not BookState.CURRENT:
            return []
        if self._frames is None:
            self._frames = list(self._opaque_frames) if self._book is None else [("snap", self._book.render())]
        return self._frames

    def mark_stale(self) -> None:
        """The connection to the broker was lost and is back: increments may have been missed."""
        self._uninterrupted = False
        if self.state is BookState.CURRENT:
            if self.sequence is None:
                self._reset(BookState.BROKEN, None, None)
            else:
                self.state = BookState.UNCONFIRMED

    def export(self) -> bytes | None:
        """Return the book for another worker to adopt; None if it is not current or has no sequence."""
        return None if self.sequence is None or not self.current else self.first_frames()[0][1]

    def adopt(self, body: bytes, fresh: bool) -> bool:
        """Adopt a book that another worker exported, and apply the increments received since.

        Args:
            fresh: the other worker answered just now. A book that is not fresh is accepted only if the increments
                received here since the last interruption reach it; otherwise the next increment has to confirm it.

        Returns:
            Whether the store became current; then send `first_frames()` to all subscribers. An unusable book (without a
            sequence, older than this store's, or with a gap before the increments received here) changes nothing, nor
            does any book if the store is current.
        """
        change, buffered = read(body), self._buffered
        if self.current or buffered is None or change is None or not change.has_sides or change.sequence is None:
            return False
        start = change.sequence
        if self.sequence is not None and start < self.sequence + (0 if fresh else 1):
            return False
        later = [one for one in buffered if one[0] > start]
        if any(sequence != due for due, (sequence, _) in enumerate(later, start + 1)):
            return False
        book = Book(change)
        for _, increment in later:
            if following := read(increment):
                book.apply(following)
        good = fresh or (self._uninterrupted and bool(buffered) and buffered[-1][0] >= start)
        self._reset(BookState.CURRENT if good else BookState.UNCONFIRMED, book, start + len(later))
        if fresh:
            self._restarts.on_adopted(start)
        self._in_step = good
        return good

    def _reset(self, state: BookState, book: Book | None, sequence: int | None) -> None:
        """Start from this content."""
        self.state, self.sequence = state, sequence
        self._book, self._opaque_frames, self._frames = book, [], None
        self._buffered = _empty_buffer()

    def _buffer(self, sequence: int | None, body: bytes) -> SyncResult:
        """Buffer an increment that has no book yet."""
        buffered = self._buffered
        is_empty = self.state is BookState.EMPTY
        if sequence is None:
            self._buffered = None
        elif buffered is None:
            self._restarts.latest = sequence
        else:
            last = buffered[-1][0] if buffered else self.sequence
            if last is not None and sequence <= last:
                result = self._on_old(sequence, body)
                return SyncResult.HELD if is_empty else result
            buffered.append((sequence, body))
            self._uninterrupted = True
            self._restarts.on_new(sequence, body)
        return SyncResult.HELD if is_empty else SyncResult.PASS_ON

    def _on_old(self, sequence: int, body: bytes) -> SyncResult:
        if not self._restarts.on_old(sequence, body):
            return SyncResult.STALE
        self._reset(BookState.EMPTY if self.state is BookState.EMPTY else BookState.BROKEN, None, None)
        # Other workers may hold the book of the old engine, whose numbers mean nothing any more.
        self._buffered = None
        return SyncResult.RESTARTED

    def _on_hole(self, sequence: int | None, body: bytes) -> SyncResult:
        self._reset(BookState.BROKEN, None, self.sequence)
        self._buffer(sequence, body)
        return SyncResult.HOLE

    def _append(self, body: bytes) -> SyncResult:
        """Append an increment of another shape unchanged. A book then counts as another shape, too."""
        if self._book is not None:
            self._opaque_frames.append(("snap", self._book.render()))
            self._book, self.sequence = None, None
        if len(self._opaque_frames) > INCREMENTS_KEPT:
            self._reset(BookState.BROKEN, None, None)
            self._buffered = None
            return SyncResult.PASS_ON
        self._opaque_frames.append(("inc", body))
        return self._on_applied()

    def _on_applied(self) -> SyncResult:
        """An increment was applied."""
        self._frames = None
        result = SyncResult.SEND if self.state is BookState.CURRENT else SyncResult.CONFIRMED
        if not self._in_step:
            result = SyncResult.RESTORED
        self.state, self._in_step = BookState.CURRENT, True
        return result


def _empty_buffer() -> deque[tuple[int, bytes]]:
    return deque(maxlen=INCREMENTS_REMEMBERED)
