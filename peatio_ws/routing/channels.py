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

from peatio_ws.orderbook.sync import BookSync, SyncResult
from peatio_ws.protocol import encoding
from peatio_ws.protocol.stream_syntax import Kind, client_name
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

Put = Callable[[bytes, Collection[Outbox], int], None]
"""Puts frames, so many, into outboxes."""
Audience: TypeAlias = "Outbox | dict[Outbox, None]"
"""The subscribers of a stream. An invented name has one; a dictionary for that would be most of what it costs."""
SERVED_AT_ONCE: Final = 1_000
"""Clients that wait for room are looked at in one call of `serve_waiting`."""
BOOKS_OF_ROOM: Final = 4
"""A client may have at least so many times the largest book that it asked for waiting for it."""


class _Channel:
    """One `<name>-inc` stream that has been published: its book, and its subscribers.

    Attributes:
        served: have been sent a book, and get every increment since.
        waiting: get the book as soon as there is one, and they have room for it. Those who have been sent a book, and
            asked again while there was none, are in both.
        touched: whether anything came for it since this was last set to False.
    """

    __slots__ = ("_frames", "name", "served", "sync", "touched", "waiting")

    def __init__(self, name: str, waiting: dict[Outbox, None]) -> None:
        self.name = name
        self.sync = BookSync()
        self.served: dict[Outbox, None] = {}
        self.waiting = waiting
        self._frames: bytes | None = None
        self.touched = False

    def changed(self) -> None:
        self._frames = None
        self.touched = True

    def __len__(self) -> int:
        """How many frames the book is."""
        return len(self.sync.first_frames())

    def frames(self) -> bytes:
        """The book as frames, encoded once for everybody who comes before it changes again."""
        if self._frames is None:
            name = client_name(self.name)
            self._frames = b"".join(
                text_frame(encoding.stream_event(f"{name}-{kind}", body)) for kind, body in self.sync.first_frames()
            )
        return self._frames


class PublicChannels:
    """The streams of one worker.

    Args:
        put: see `Put`.
        flush: sends what was put, where it is not the caller's to do.
        max_books: how many books are kept; of further ones nothing is sent to new subscribers.
        report: called with `hole`, `restart` or `full` and the stream, when increments of a book are missing, its
            sequence starts again, or there is no room for it.
    """

    def __init__(
        self, put: Put, flush: Callable[[], object], max_books: int, report: Callable[[str, str], None]
    ) -> None:
        self._put, self._flush, self._max_books, self._report = put, flush, max_books, report
        self._audiences: dict[str, Audience] = {}
        self._unpublished: dict[str, Audience] = {}  # of `-inc` streams without a feed
        self._channels: dict[str, _Channel] = {}  # by the book's name
        self._pending: dict[_Channel, None] = {}  # feeds with clients that had no room for a book
        self._subscriptions: Counter[str] = Counter()

    def __len__(self) -> int:
        """Streams that somebody is subscribed to."""
        streams = len(self._audiences) + len(self._unpublished)
        return streams + sum(1 for channel in self._channels.values() if channel.served or channel.waiting)

    def holds(self, name: str) -> bool:
        """Whether a client is subscribed to this stream, or it is a book's that was published."""
        return name in self._audiences or name in self._unpublished or _book_of(name) in self._channels

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
        channel = self._channels.get(book) if (book := _book_of(name)) is not None else None
        if channel is None:
            if _add_subscriber(self._audiences if book is None else self._unpublished, name, outbox):
                self._subscriptions[_kind(name)] += 1
            return 0
        if outbox not in channel.served and outbox not in channel.waiting:
            self._subscriptions[_kind(name)] += 1
        if channel.sync.current:
            frames = channel.frames()
            _make_room(outbox, frames)
            channel.waiting.pop(outbox, None)
            channel.served[outbox] = None
            outbox.put(frames)
            return 0 if outbox.closing else len(channel)
        channel.waiting[outbox] = None
        return 0

    def unsubscribe(self, outbox: Outbox, name: str) -> None:
        """It gets it no more; harmless if it did not."""
        channel = self._channels.get(book) if (book := _book_of(name)) is not None else None
        if channel is None:
            left = _remove_subscriber(self._audiences if book is None else self._unpublished, name, outbox)
        else:
            left = outbox in channel.served or outbox in channel.waiting
            channel.served.pop(outbox, None)
            channel.waiting.pop(outbox, None)
        if left:
            self._subscriptions[_kind(name)] -= 1

    def publish(self, name: str, body: bytes) -> bool:
        """Put an event into the outboxes of its subscribers; whether there were any."""
        book = _book_of(name)
        if book is not None:
            return self._increment(book, name, body)
        sent = name.endswith("-snap") and self._snapshot(name.removesuffix("-snap"), body)
        return self._send(self._audiences.get(name), name, body) or sent

    def mark_stale(self) -> None:
        """Increments may have been missed: no book is given out before it is known to be right again."""
        for channel in self._channels.values():
            channel.sync.mark_stale()

    def export(self) -> Iterator[tuple[str, bytes]]:
        """The books that another worker can go on from, by name."""
        for name, channel in list(self._channels.items()):
            if (body := channel.sync.export()) is not None:
                yield name, body

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Go on from another worker's book, if it fits to what was heard here.

        Args:
            fresh: whether it is known to be no older than this worker's queue.

        Returns:
            Whether that is settled; False where another is needed, because it does not reach what was heard here.
        """
        channel = self._channel_of(name)
        if channel is None:
            return True  # no room for any
        if channel.sync.adopt(body, fresh):
            self._send_book_to_all(channel)
            self._flush()
        return channel.sync.current

    def needs_book(self) -> bool:
        """Whether somebody waits for a book."""
        return bool(self._unpublished) or any(channel.waiting for channel in self._channels.values())

    def serve_waiting(self) -> bool:
        """Give books to those who had no room for them; whether there still are such. To be called now and then.

        It looks at `SERVED_AT_ONCE` of them, those who were looked at longest ago first: how many wait, and for how
        many books, is for clients to choose.
        """
        left = SERVED_AT_ONCE
        for channel in list(self._pending):
            del self._pending[channel]
            if not channel.sync.current:
                continue  # everybody who waits gets it once it is
            some = list(islice(channel.waiting, left))
            left -= len(some)
            self._send_book(channel, some)  # which puts it behind the others if somebody still waits
            self._flush()  # or the next book would find room that this one takes
            if left <= 0:
                break
        return bool(self._pending)

    def subscriptions(self) -> Counter[str]:
        """How many `public` and `prefixed` streams clients have, each counted for each of them."""
        return self._subscriptions.copy()

    def states(self) -> Counter[str]:
        """How many books are in which `sync.BookState`."""
        return Counter(channel.sync.state.value for channel in list(self._channels.values()))

    def touched(self) -> Iterator[str]:
        """The books for which something came since this was asked last; never one that only a client named."""
        for name, channel in list(self._channels.items()):
            if channel.touched:
                channel.touched = False
                yield name

    def _send(self, audience: Audience | None, name: str, body: bytes) -> bool:
        if not audience:
            return False
        outboxes = audience if isinstance(audience, dict) else (audience,)
        self._put(text_frame(encoding.stream_event(client_name(name), body)), outboxes, 1)
        return True

    def _channel_of(self, book: str) -> _Channel | None:
        """The feed of a book; None where there is no room for one."""
        channel = self._channels.get(book)
        if channel is None:
            if len(self._channels) >= self._max_books:
                self._report("full", book)
                return None
            audience = self._unpublished.pop(f"{book}-inc", None)
            waiting = audience if isinstance(audience, dict) else {audience: None} if audience is not None else {}
            channel = self._channels[book] = _Channel(book, waiting)
        return channel

    def _snapshot(self, book: str, body: bytes) -> bool:
        channel = self._channel_of(book)
        if channel is None:
            return False
        first = channel.sync.snapshot(body)
        channel.changed()
        return first and self._send_book_to_all(channel)

    def _send_book_to_all(self, channel: _Channel) -> bool:
        """Give the book to everybody, those who wait for it and those whom increments may have failed."""
        channel.changed()
        return self._send_book(channel, channel.served | channel.waiting)

    def _send_book(self, channel: _Channel, outboxes: Iterable[Outbox]) -> bool:
        """The book to those of them who have room for it; the others wait, without increments, until they have."""
        frames, ready = channel.frames(), list[Outbox]()
        for outbox in list(outboxes):
            if outbox.size > outbox.limit // 2:
                channel.served.pop(outbox, None)
                channel.waiting.pop(outbox, None)
                channel.waiting[outbox] = None  # behind the others
            else:
                channel.waiting.pop(outbox, None)
                channel.served[outbox] = None
                _make_room(outbox, frames)
                ready.append(outbox)
        if channel.waiting:
            self._pending[channel] = None
        self._put(frames, ready, len(channel))
        return bool(ready)

    def _increment(self, book: str, name: str, body: bytes) -> bool:
        channel = self._channel_of(book)
        if channel is None:
            return False
        result = channel.sync.increment(body)
        channel.changed()
        if result is SyncResult.RESTORED:
            return self._send_book_to_all(channel)
        if result is SyncResult.HOLE:
            self._report("hole", name)
        elif result is SyncResult.RESTARTED:
            self._report("restart", name)
        sent = result.passes_on and self._send(channel.served, name, body)
        if channel.waiting and channel.sync.current:
            return self._send_book(channel, channel.waiting) or sent
        return sent


def _make_room(outbox: Outbox, book: bytes) -> None:
    outbox.limit = max(outbox.limit, BOOKS_OF_ROOM * len(book))


def _add_subscriber(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
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


def _remove_subscriber(audiences: dict[str, Audience], name: str, outbox: Outbox) -> bool:
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
