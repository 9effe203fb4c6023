"""Public and prefixed streams: who is subscribed to which, and the book that a new subscriber is sent first.

Never waits: puts frames into outboxes through the function it is given. Knows nothing of members and of the broker.

A name that a client invents costs one entry of a table. A feed, with a book, exists only for a name that a publisher
has used; `max_books` limits how many. Whatever is called periodically looks at feeds, and never at names of clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Final, TypeAlias

from peatio_ws.orderbook.sync import Store, Verdict
from peatio_ws.protocol import encoding
from peatio_ws.protocol.streams import Kind, shown_as
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

Put = Callable[[bytes, Collection[Outbox], int], None]
"""Puts frames, so many, into outboxes."""
Audience: TypeAlias = "Outbox | dict[Outbox, None]"
"""The subscribers of a stream. An invented name has one; a dictionary for that would be most of what it costs."""
GIVEN_AT_ONCE: Final = 1_000
"""Clients that wait for room are looked at in one call of `serve_waiting`."""
BOOKS_OF_ROOM: Final = 4
"""A client may have at least so many times the largest book that it asked for waiting for it."""


class _Feed:
    """One `<name>-inc` stream that has been published: its book, and its subscribers.

    Attributes:
        served: have been sent a book, and get every increment since.
        waiting: get the book as soon as there is one, and they have room for it. Those who have been sent a book, and
            asked again while there was none, are in both.
        touched: whether anything came for it since this was last set to False.
    """

    __slots__ = ("_frames", "name", "served", "store", "touched", "waiting")

    def __init__(self, name: str, waiting: dict[Outbox, None]) -> None:
        self.name = name
        self.store = Store()
        self.served: dict[Outbox, None] = {}
        self.waiting = waiting
        self._frames: bytes | None = None
        self.touched = False

    def changed(self) -> None:
        self._frames = None
        self.touched = True

    def __len__(self) -> int:
        """How many frames the book is."""
        return len(self.store.first_frames())

    def frames(self) -> bytes:
        """The book as frames, encoded once for everybody who comes before it changes again."""
        if self._frames is None:
            name = shown_as(self.name)
            self._frames = b"".join(
                text_frame(encoding.stream_event(f"{name}-{kind}", body)) for kind, body in self.store.first_frames()
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
        self._audiences: dict[str, Audience] = {}
        self._unpublished: dict[str, Audience] = {}  # of `-inc` streams without a feed
        self._feeds: dict[str, _Feed] = {}  # by the book's name
        self._late: dict[_Feed, None] = {}  # feeds with clients that had no room for a book
        self._subscriptions: Counter[str] = Counter()

    def __len__(self) -> int:
        """Streams that somebody is subscribed to."""
        streams = len(self._audiences) + len(self._unpublished)
        return streams + sum(1 for feed in self._feeds.values() if feed.served or feed.waiting)

    def holds(self, name: str) -> bool:
        """Whether a client is subscribed to this stream, or it is a book's that was published."""
        return name in self._audiences or name in self._unpublished or _book_of(name) in self._feeds

    def names(self) -> int:
        """How many names of clients the tables have."""
        return len(self._audiences) + len(self._unpublished)

    def subscribe(self, outbox: Outbox, name: str) -> int:
        """From now on this client gets a stream: of an `-inc` the book first, then every increment since. For a client
        that gets it already the book is sent again.

        The book is in its outbox then, which the caller flushes: nobody else is told, or who comes and goes while the
        broker is silent would be kept in mind until it speaks.

        Returns:
            How many frames that is.
        """
        feed = self._feeds.get(book) if (book := _book_of(name)) is not None else None
        if feed is None:
            if _join(self._audiences if book is None else self._unpublished, name, outbox):
                self._subscriptions[_kind(name)] += 1
            return 0
        if outbox not in feed.served and outbox not in feed.waiting:
            self._subscriptions[_kind(name)] += 1
        if feed.store.current:
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
        feed = self._feeds.get(book) if (book := _book_of(name)) is not None else None
        if feed is None:
            left = _leave(self._audiences if book is None else self._unpublished, name, outbox)
        else:
            left = outbox in feed.served or outbox in feed.waiting
            feed.served.pop(outbox, None)
            feed.waiting.pop(outbox, None)
        if left:
            self._subscriptions[_kind(name)] -= 1

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
            feed.store.doubt()

    def export(self) -> Iterator[tuple[str, bytes]]:
        """The books that another worker can go on from, by name."""
        for name, feed in list(self._feeds.items()):
            if (body := feed.store.export()) is not None:
                yield name, body

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Go on from another worker's book, if it fits to what was heard here.

        Args:
            fresh: whether it is known to be no older than this worker's queue.

        Returns:
            Whether that is settled; False where another is needed, because it does not reach what was heard here.
        """
        feed = self._kept(name)
        if feed is None:
            return True  # no room for any
        if feed.store.adopt(body, fresh):
            self._serve_all(feed)
            self._flush()
        return feed.store.current

    def wanting(self) -> bool:
        """Whether somebody waits for a book."""
        return bool(self._unpublished) or any(feed.waiting for feed in self._feeds.values())

    def serve_waiting(self) -> bool:
        """Give books to those who had no room for them; whether there still are such. To be called now and then.

        It looks at `GIVEN_AT_ONCE` of them, those who were looked at longest ago first: how many wait, and for how many
        books, is for clients to choose.
        """
        left = GIVEN_AT_ONCE
        for feed in list(self._late):
            del self._late[feed]
            if not feed.store.current:
                continue  # everybody who waits gets it once it is
            some = list(islice(feed.waiting, left))
            left -= len(some)
            self._give(feed, some)  # which puts it behind the others if somebody still waits
            self._flush()  # or the next book would find room that this one takes
            if left <= 0:
                break
        return bool(self._late)

    def subscriptions(self) -> Counter[str]:
        """How many `public` and `prefixed` streams clients have, each counted for each of them."""
        return self._subscriptions.copy()

    def states(self) -> Counter[str]:
        """How many books are in which `sync.State`."""
        return Counter(feed.store.state.value for feed in list(self._feeds.values()))

    def touched(self) -> Iterator[str]:
        """The books for which something came since this was asked last; never one that only a client named."""
        for name, feed in list(self._feeds.items()):
            if feed.touched:
                feed.touched = False
                yield name

    def _send(self, audience: Audience | None, name: str, body: bytes) -> bool:
        if not audience:
            return False
        outboxes = audience if isinstance(audience, dict) else (audience,)
        self._put(text_frame(encoding.stream_event(shown_as(name), body)), outboxes, 1)
        return True

    def _kept(self, book: str) -> _Feed | None:
        """The feed of a book; None where there is no room for one."""
        feed = self._feeds.get(book)
        if feed is None:
            if len(self._feeds) >= self._max_books:
                self._tell("full", book)
                return None
            audience = self._unpublished.pop(f"{book}-inc", None)
            waiting = audience if isinstance(audience, dict) else {audience: None} if audience is not None else {}
            feed = self._feeds[book] = _Feed(book, waiting)
        return feed

    def _snapshot(self, book: str, body: bytes) -> bool:
        feed = self._kept(book)
        if feed is None:
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
                feed.waiting.pop(outbox, None)
                feed.waiting[outbox] = None  # behind the others
            else:
                feed.waiting.pop(outbox, None)
                feed.served[outbox] = None
                _make_room(outbox, frames)
                ready.append(outbox)
        if feed.waiting:
            self._late[feed] = None
        self._put(frames, ready, len(feed))
        return bool(ready)

    def _increment(self, book: str, name: str, body: bytes) -> bool:
        feed = self._kept(book)
        if feed is None:
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


def _join(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
    """Add a subscriber; whether it was none before."""
    audience = audiences.get(name)
    if audience is None:
        audiences[name] = outbox
        return True
    if audience is outbox:
        return False
    if not isinstance(audience, dict):
        audience = audiences[name] = {audience: None}
    before = len(audience)
    audience[outbox] = None
    return len(audience) > before


def _leave(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
    """Remove a subscriber; whether it was one."""
    audience = audiences.get(name)
    if audience is outbox:
        del audiences[name]
    elif isinstance(audience, dict) and outbox in audience:
        del audience[outbox]
        if not audience:
            del audiences[name]
    else:
        return False
    return True


def _kind(name: str) -> str:
    return "prefixed" if name.count(".") == Kind.PREFIXED else "public"


def _book_of(name: str) -> str | None:
    """The book that a stream's increments belong to."""
    return name[:-4] if name.endswith("-inc") else None
