"""What a view sends next to its followers (contract section 8). `views.py` decides when, and to which of them.

Knows neither outboxes nor the batch: it takes events and books, and returns frames.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from peatio_ws.orderbook.book import Book, Change
from peatio_ws.orderbook.sync import BookSync
from peatio_ws.orderbook.views import BookCopy, changes_since, top_of
from peatio_ws.protocol import encoding
from peatio_ws.protocol.stream_syntax import client_name
from peatio_ws.protocol.view_names import View
from peatio_ws.transport.frames import text_frame

if TYPE_CHECKING:
    from peatio_ws.transport.outbox import Outbox

FRESH_SECONDS: Final = 600.0
"""A new follower receives the latest event at once if it is not older."""
MOST_CHANGES: Final = 10_000
"""Changes of a book in one frame; more are sent as a new book."""


class LatestEvent:
    """The latest event of a published stream other than `-inc`.

    Attributes:
        body: None if it is not remembered.
        at: monotonic time at which it came.
    """

    __slots__ = ("at", "body")

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.at = 0.0


class FollowedView:
    """A view and its followers.

    Attributes:
        name: the stream's name for clients.
        stream: the published stream.
        seconds: the shortest time between two frames.
        followers: all of them.
        late: those of them that lack the last frames, or that there was nothing to send to yet.
        next_at: monotonic time before which nothing is sent.
        scheduled: whether the timer will send it.
    """

    __slots__ = ("followers", "late", "name", "next_at", "scheduled", "seconds", "stream")

    def __init__(self, name: str, view: View) -> None:
        self.name, self.stream, self.seconds = client_name(name), view.stream, view.seconds
        self.followers: dict[Outbox, None] = {}
        self.late: dict[Outbox, None] = {}
        self.next_at = 0.0
        self.scheduled = False

    def first(self) -> bytes | None:
        """Return the frame for a new follower, which later frames continue; None if there is nothing to send yet."""
        raise NotImplementedError

    def take(self) -> tuple[bytes | None, bytes | None]:
        """Return what is new for the followers, and what a follower needs that missed frames; None for nothing."""
        raise NotImplementedError

    def waits_for_book(self) -> bool:
        """Return whether it has nothing to send until there is a book."""
        return False


class _StateView(FollowedView):
    """A view whose newest frame makes all earlier ones worthless."""

    __slots__ = ("_body", "_frame")

    def __init__(self, name: str, view: View) -> None:
        super().__init__(name, view)
        self._body: bytes | None = None  # as sent last
        self._frame: bytes | None = None

    def newest(self) -> bytes | None:
        """Return the body to send; None if there is none."""
        raise NotImplementedError

    def first(self) -> bytes | None:
        if self.newest() is None:
            return None
        return self._frame if self._frame is not None else self.take()[0]

    def take(self) -> tuple[bytes | None, bytes | None]:
        body = self.newest()
        if body is None or body == self._body:
            return None, self._frame
        self._body, self._frame = body, text_frame(encoding.stream_event(self.name, body))
        return self._frame, self._frame


class LatestView(_StateView):
    __slots__ = ("_latest",)

    def __init__(self, name: str, view: View, latest: LatestEvent) -> None:
        super().__init__(name, view)
        self._latest = latest

    def newest(self) -> bytes | None:
        return self._latest.body

    def first(self) -> bytes | None:
        return super().first() if time.monotonic() - self._latest.at <= FRESH_SECONDS else None

    def take(self) -> tuple[bytes | None, bytes | None]:
        # An event may repeat the one before it byte for byte, and is sent all the same.
        if self._latest.body is not self._body:
            self._body = None
        return super().take()


class TopView(_StateView):
    __slots__ = ("_levels", "_sync")

    def __init__(self, name: str, view: View, sync: BookSync) -> None:
        super().__init__(name, view)
        self._levels, self._sync = view.levels, sync

    def newest(self) -> bytes | None:
        book = self._sync.book
        return None if book is None else top_of(book, self._levels)

    def waits_for_book(self) -> bool:
        return self._sync.book is None


class ChangesView(FollowedView):
    """The changes of a book since the last frame. Until the next frame, all followers have the same book: the copy."""

    __slots__ = ("_changes", "_copy", "_first", "_replaced", "_snapshot_name", "_sync")

    def __init__(self, name: str, view: View, sync: BookSync) -> None:
        super().__init__(name, view)
        self._sync = sync
        self._snapshot_name = f"{client_name(view.stream).removesuffix('-inc')}-snap"
        self._copy: BookCopy | None = None  # None: there is no book that changes could continue
        self._changes: list[Change] = []  # since the copy
        self._first: bytes | None = None  # the copy as a frame
        self._replaced = False  # the followers need a new book

    def add(self, change: Change) -> None:
        """The book has changed."""
        if len(self._changes) < MOST_CHANGES:
            self._changes.append(change)
        else:
            self.forget()

    def forget(self) -> None:
        """The followers' book cannot be continued. They receive a new one when there is one."""
        self._copy = self._first = None
        self._replaced = True
        self._changes.clear()

    def first(self) -> bytes | None:
        book = self._sync.book
        if book is None:
            return None
        if self._copy is None:
            self._copy_book(book)
        if self._first is None and self._copy is not None:
            self._first = text_frame(encoding.stream_event(self._snapshot_name, self._copy.render()))
        return self._first

    def take(self) -> tuple[bytes | None, bytes | None]:
        book = self._sync.book
        if book is None:
            return None, None
        if self._replaced or self._copy is None:
            self._copy_book(book)
            self._replaced = False
            return self.first(), self.first()
        frame = None
        if self._changes:
            frame = text_frame(encoding.stream_event(self.name, changes_since(self._copy, self._changes)))
            self._copy_book(book)
        return frame, self.first() if self.late else None

    def waits_for_book(self) -> bool:
        return self._sync.book is None

    def _copy_book(self, book: Book) -> None:
        self._copy, self._first = BookCopy(book), None
        self._changes.clear()
