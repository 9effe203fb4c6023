"""Public and prefixed streams: who is subscribed to which, and the book that a new subscriber is sent first.

Never waits: puts frames into outboxes through the function it is given. Knows nothing of members and of the broker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from peatio_ws import dialects
from peatio_ws.books import Store, Verdict
from peatio_ws.frames import text_frame
from peatio_ws.outbox import Outbox
from peatio_ws.streams import Kind, shown_as

Put = Callable[[bytes, Collection[Outbox], int], None]
"""Puts frames, so many, into outboxes."""
BOOKS_OF_ROOM: Final = 4
"""A client may have at least so many times the largest book that it asked for waiting for it."""


class _Feed:
    """One `<name>-inc` stream: its book, and its subscribers.

    Attributes:
        served: have been sent a book, and get every increment since.
        waiting: get the book as soon as there is one, and they have room for it. Those who have been sent a book, and
            asked again while there was none, are in both.
        touched: whether anything came for it since this was last set to False.
    """

    __slots__ = ("_frames", "name", "served", "store", "touched", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.store: Store | None = None
        self.served: dict[Outbox, None] = {}
        self.waiting: dict[Outbox, None] = {}
        self._frames: bytes | None = None
        self.touched = False

    def changed(self) -> None:
        self._frames = None
        self.touched = True

    def __len__(self) -> int:
        """How many frames the book is."""
        return len(self.store.first_frames()) if self.store is not None else 0

    def frames(self) -> bytes:
        """The book as frames, encoded once for everybody who comes before it changes again."""
        if self._frames is None:
            assert self.store is not None
            name = shown_as(self.name)
            self._frames = b"".join(
                text_frame(dialects.stream_event(f"{name}-{kind}", body)) for kind, body in self.store.first_frames()
            )
        return self._frames


class Feeds:
    """The streams of one worker.

    Args:
        put: see `Put`.
        flush: sends what was put, where it is not the caller's to do.
        max_books: how many books are kept; of further ones nothing is sent to new subscribers.
        tell: called with `hole`, `restart` or `full` and the stream, when increments of a book are missing, its
            sequence starts again, or there is no room for it.
    """

    def __init__(self, put: Put, flush: Callable[[], object], max_books: int, tell: Callable[[str, str], None]) -> None:
        self._put, self._flush, self._max_books, self._tell = put, flush, max_books, tell
        self._audiences: dict[str, dict[Outbox, None]] = {}
        self._feeds: dict[str, _Feed] = {}
        self._books = 0

    def __len__(self) -> int:
        """Streams that somebody is subscribed to."""
        return len(self._audiences) + sum(1 for feed in self._feeds.values() if feed.served or feed.waiting)

    def subscribe(self, outbox: Outbox, name: str) -> int:
        """From now on this client gets a stream: of an `-inc` the book first, then every increment since. For a client
        that gets it already the book is sent again.

        The book is in its outbox then, which the caller flushes: nobody else is told, or who comes and goes while the
        broker is silent would be kept in mind until it speaks.

        Returns:
            How many frames that is.
        """
        book = _book_of(name)
        if book is None:
            self._audiences.setdefault(name, {})[outbox] = None
            return 0
        feed = self._feeds.get(book)
        if feed is None:
            feed = self._feeds[book] = _Feed(book)
        if feed.store is not None and feed.store.current:
            frames = feed.frames()
            _make_room(outbox, frames)
            feed.waiting.pop(outbox, None)
            feed.served[outbox] = None
            outbox.put(frames)
            return 0 if outbox.closing else len(feed)
        feed.waiting[outbox] = None
        return 0

    def unsubscribe(self, outbox: Outbox, name: str) -> None:
        """It gets it no more; harmless if it did not."""
        book = _book_of(name)
        if book is None:
            audience = self._audiences.get(name, {})
            audience.pop(outbox, None)
            if not audience:
                self._audiences.pop(name, None)
        elif (feed := self._feeds.get(book)) is not None:
            feed.served.pop(outbox, None)
            feed.waiting.pop(outbox, None)
            if feed.store is None and not feed.served and not feed.waiting:
                del self._feeds[book]

    def publish(self, name: str, body: bytes) -> bool:
        """Put an event into the outboxes of its subscribers; whether there were any."""
        book = _book_of(name)
        if book is not None:
            return self._increment(book, name, body)
        sent = name.endswith("-snap") and self._snapshot(name.removesuffix("-snap"), body)
        return self._send(self._audiences.get(name), name, body) or sent

    def doubt(self) -> None:
        """Increments may have been missed: no book is given out before it is known to be right again."""
        for feed in self._feeds.values():
            if feed.store is not None:
                feed.store.doubt()

    def export(self) -> Iterator[tuple[str, bytes]]:
        """The books that another worker can go on from, by name."""
        for name, feed in list(self._feeds.items()):
            if feed.store is not None and (body := feed.store.export()) is not None:
                yield name, body

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Go on from another worker's book, if it fits to what was heard here.

        Args:
            fresh: whether it is known to be no older than this worker's queue.

        Returns:
            Whether that is settled; False where another is needed, because it does not reach what was heard here.
        """
        feed = self._kept(name)
        if feed is None or feed.store is None:
            return True  # no room for any
        if feed.store.adopt(body, fresh):
            self._serve_all(feed)
            self._flush()
        return feed.store.current

    def wanting(self) -> bool:
        """Whether somebody waits for a book."""
        return any(feed.waiting for feed in self._feeds.values())

    def serve_waiting(self) -> bool:
        """Give books to those who had no room for them; whether there still are such. To be called now and then."""
        left = False
        for feed in list(self._feeds.values()):
            if feed.waiting and feed.store is not None and feed.store.current:
                self._give(feed, feed.waiting)
                self._flush()  # or the next book would find room that this one takes
                left = left or bool(feed.waiting)
        return left

    def subscriptions(self) -> Counter[str]:
        """How many `public` and `prefixed` streams clients have, each counted for each of them."""
        found: Counter[str] = Counter()
        for name, audience in self._audiences.items():
            found[_kind(name)] += len(audience)
        for name, feed in self._feeds.items():
            found[_kind(name)] += len(feed.served.keys() | feed.waiting.keys())
        return found

    def states(self) -> Counter[str]:
        """How many books are in which `books.State`."""
        return Counter(feed.store.state.value for feed in self._feeds.values() if feed.store is not None)

    def touched(self) -> Iterator[str]:
        """The books for which something came since this was asked last; never one that only a client named."""
        for name, feed in list(self._feeds.items()):
            if feed.store is not None and feed.touched:
                feed.touched = False
                yield name

    def _send(self, audience: dict[Outbox, None] | None, name: str, body: bytes) -> bool:
        if not audience:
            return False
        self._put(text_frame(dialects.stream_event(shown_as(name), body)), audience, 1)
        return True

    def _kept(self, book: str) -> _Feed | None:
        """The feed of a book, with a store; None where there is no room for one."""
        feed = self._feeds.get(book)
        if feed is None:
            feed = self._feeds[book] = _Feed(book)
        if feed.store is None:
            if self._books >= self._max_books:
                if not feed.waiting:
                    del self._feeds[book]
                self._tell("full", book)
                return None
            feed.store = Store()
            self._books += 1
        return feed

    def _snapshot(self, book: str, body: bytes) -> bool:
        feed = self._kept(book)
        if feed is None or feed.store is None:
            return False
        first = feed.store.snapshot(body)
        feed.changed()
        return first and self._serve_all(feed)

    def _serve_all(self, feed: _Feed) -> bool:
        """Give the book to everybody, those who wait for it and those whom increments may have failed."""
        feed.changed()
        return self._give(feed, feed.served | feed.waiting)

    def _give(self, feed: _Feed, outboxes: Iterable[Outbox]) -> bool:
        """The book to those of them who have room for it; the others wait, without increments, until they have."""
        frames, ready = feed.frames(), list[Outbox]()
        for outbox in list(outboxes):
            if outbox.size > outbox.limit // 2:
                feed.served.pop(outbox, None)
                feed.waiting[outbox] = None
            else:
                feed.waiting.pop(outbox, None)
                feed.served[outbox] = None
                _make_room(outbox, frames)
                ready.append(outbox)
        self._put(frames, ready, len(feed))
        return bool(ready)

    def _increment(self, book: str, name: str, body: bytes) -> bool:
        feed = self._kept(book)
        if feed is None or feed.store is None:
            return False
        verdict = feed.store.increment(body)
        feed.changed()
        if verdict is Verdict.RESTORED:
            return self._serve_all(feed)
        if verdict is Verdict.HOLE:
            self._tell("hole", name)
        elif verdict is Verdict.RESTARTED:
            self._tell("restart", name)
        sent = verdict.passes_on and self._send(feed.served, name, body)
        if feed.waiting and feed.store.current:
            return self._give(feed, feed.waiting) or sent
        return sent


def _make_room(outbox: Outbox, book: bytes) -> None:
    outbox.limit = max(outbox.limit, BOOKS_OF_ROOM * len(book))


def _kind(name: str) -> str:
    return "prefixed" if name.count(".") == Kind.PREFIXED else "public"


def _book_of(name: str) -> str | None:
    """The book that a stream's increments belong to."""
    return name[:-4] if name.endswith("-inc") else None
