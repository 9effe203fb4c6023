"""Public and prefixed streams: their subscribers, and when those receive a book (`book_stream.py`).

Never waits: puts frames into outboxes through the worker's batch. Does not know members or the broker.

A stream name that a client invents costs one table entry. Books exist only for names that a publisher has used;
`max_books` limits their number. Periodic work looks at books, and never at the names of clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from peatio_ws.orderbook.sync import SyncResult
from peatio_ws.protocol import encoding
from peatio_ws.protocol.stream_syntax import Kind, client_name, is_trades
from peatio_ws.protocol.view_names import view_of
from peatio_ws.routing.audience import Audience, add_subscriber, remove_subscriber, subscribers
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.book_stream import BookStream
from peatio_ws.routing.marked_streams import MarkedStreams
from peatio_ws.routing.views import StreamViews
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

SERVED_AT_ONCE: Final = 1_000
"""Waiting clients that one call of `serve_waiting` looks at."""


class PublicChannels:
    """The public and prefixed streams of one worker.

    Args:
        batch: the outboxes to flush.
        max_books: the number of books that are kept. New subscribers of further books receive no book.
        report: called with `hole`, `restart` or `full` and the stream: increments of a book are missing, its sequence
            starts again, or there is no room for it.

    Attributes:
        marked: the streams of trades, for clients that want those of the meantime when they come back.
    """

    def __init__(self, batch: Batch, max_books: int, report: Callable[[str, str], None]) -> None:
        self._batch, self._max_books, self._report = batch, max_books, report
        self._audiences: dict[str, Audience] = {}
        self._unpublished: dict[str, Audience] = {}  # of `-inc` streams that were not published yet
        self._books: dict[str, BookStream] = {}  # by the book's name
        self._pending: dict[BookStream, None] = {}  # with subscribers that had no room for the book
        self._views = StreamViews(batch)
        self.marked = MarkedStreams(batch)
        self._subscriptions: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of streams with a subscriber."""
        return self.names() + sum(1 for stream in self._books.values() if stream.served or stream.waiting)

    def holds(self, name: str) -> bool:
        """Return whether the tables have a stream: a client is subscribed to it, or its book was published."""
        if (view := view_of(name)) is not None:
            return self._views.holds(name, view) or _book_of(view.stream) in self._books
        known = name in self._audiences or name in self._unpublished or self.marked.has_followers(name)
        return known or _book_of(name) in self._books

    def names(self) -> int:
        """Return how many names the tables have because of clients."""
        return len(self._audiences) + len(self._unpublished) + len(self._views) + len(self.marked)

    def subscribe(self, outbox: Outbox, name: str) -> int:
        """Send a client a stream from now on. For an `-inc` stream, send the book first, then every increment since. A
        client that is subscribed already receives the book again.

        The book is in the client's outbox on return, and the caller flushes it. It is not part of the batch: the batch
        would keep clients that connect and disconnect until the broker delivers something.

        Returns:
            The number of frames.
        """
        if (view := view_of(name)) is not None:
            books = self._books.get(_book_of(view.stream) or "")
            is_new, sent = self._views.subscribe(outbox, name, view, None if books is None else books.sync)
            self._subscriptions[_kind(name)] += is_new
            return sent
        stream = self._books.get(book) if (book := _book_of(name)) is not None else None
        if stream is None:
            if add_subscriber(self._audiences if book is None else self._unpublished, name, outbox):
                self._subscriptions[_kind(name)] += 1
            return 0
        self._subscriptions[_kind(name)] += not stream.has(outbox)
        return stream.subscribe(outbox)

    def follow(self, outbox: Outbox, name: str) -> None:
        """Send a client a stream of trades from now on, with marks, whether it had the stream before or not."""
        had = remove_subscriber(self._audiences, name, outbox)
        self._subscriptions[_kind(name)] += self.marked.follow(outbox, name) and not had

    def unsubscribe(self, outbox: Outbox, name: str) -> None:
        """Stop sending a client a stream. Idempotent."""
        if (view := view_of(name)) is not None:
            self._subscriptions[_kind(name)] -= self._views.unsubscribe(outbox, name, view)
            return
        stream = self._books.get(book) if (book := _book_of(name)) is not None else None
        if stream is None:
            left = remove_subscriber(self._audiences if book is None else self._unpublished, name, outbox)
            left = (is_trades(name) and self.marked.unfollow(outbox, name)) or left
        else:
            left = stream.unsubscribe(outbox)
        if left:
            self._subscriptions[_kind(name)] -= 1

    def publish(self, name: str, body: bytes) -> bool:
        """Put an event into the outboxes of its subscribers. Return whether there were any."""
        book = _book_of(name)
        if book is not None:
            return self._increment(book, name, body)
        sent = name.endswith("-snap") and self._snapshot(name.removesuffix("-snap"), body)
        sent = self._send(self._audiences.get(name), name, body) or sent
        if is_trades(name):
            sent = self.marked.on_event(name, body, name in self._audiences) or sent
        return self._views.on_event(name, body) or sent

    def mark_stale(self) -> None:
        """Increments may be missing: send no book to new subscribers until it is known to be correct again."""
        for stream in self._books.values():
            stream.sync.mark_stale()

    def export(self) -> Iterator[tuple[str, bytes]]:
        """Return the books that other workers can continue from, by name."""
        for name, stream in list(self._books.items()):
            if (body := stream.sync.export()) is not None:
                yield name, body

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Continue from another worker's book, if it fits the increments that came here.

        Args:
            fresh: whether it is known to be no older than this worker's queue.

        Returns:
            False if another book is needed, because this one ends before the increments that came here begin.
        """
        stream = self._stream_of(name)
        if stream is None:
            return True  # there is no room for a book
        if stream.sync.adopt(body, fresh):
            self._send_book_to_all(stream)
            self._views.on_book(f"{name}-inc")
            self._batch.flush()
        return stream.sync.current

    def needs_book(self) -> bool:
        """Return whether a client waits for a book."""
        waiting = bool(self._unpublished) or any(stream.waiting for stream in self._books.values())
        return waiting or self._views.needs_book()

    def serve_waiting(self) -> bool:
        """Send books to clients whose outbox had no room for them. Return whether there still are any. To be called
        from time to time.

        Each call looks at `SERVED_AT_ONCE` clients, those that were looked at longest ago first: clients choose how
        many of them wait, and for how many books.
        """
        left = SERVED_AT_ONCE
        for stream in list(self._pending):
            del self._pending[stream]
            if not stream.sync.current:
                continue  # all that wait get it once it is current
            some = list(islice(stream.waiting, left))
            left -= len(some)
            self._send_book(stream, some)  # which adds it at the end again if a client still waits
            self._batch.flush()  # what a socket accepts at once makes room for the next book
            if left <= 0:
                break
        return bool(self._pending)

    def subscriptions(self) -> Counter[str]:
        """Return the number of subscriptions to `public` and to `prefixed` streams."""
        return self._subscriptions.copy()

    def states(self) -> Counter[str]:
        """Return the number of books in each `sync.BookState`."""
        return Counter(stream.sync.state.value for stream in list(self._books.values()))

    def touched(self) -> Iterator[str]:
        """Return the books for which a message came since the last call; never one that only clients have named."""
        for name, stream in list(self._books.items()):
            if stream.touched:
                stream.touched = False
                yield name

    def _send(self, audience: Audience | None, name: str, body: bytes) -> bool:
        if not audience:
            return False
        self._batch.put(text_frame(encoding.stream_event(client_name(name), body)), subscribers(audience), 1)
        return True

    def _stream_of(self, book: str) -> BookStream | None:
        """Return the stream of a book, a new one if necessary; None if there is no room for it."""
        stream = self._books.get(book)
        if stream is None:
            if len(self._books) >= self._max_books:
                self._report("full", book)
                return None
            waiting = subscribers(self._unpublished.pop(f"{book}-inc", None))
            stream = self._books[book] = BookStream(book, waiting)
            self._views.on_published(f"{book}-inc", stream.sync)
        return stream

    def _snapshot(self, book: str, body: bytes) -> bool:
        stream = self._stream_of(book)
        if stream is None:
            return False
        first = stream.sync.snapshot(body)
        stream.changed()
        sent = first and self._send_book_to_all(stream)
        return self._views.on_book(f"{book}-inc") or sent

    def _send_book_to_all(self, stream: BookStream) -> bool:
        """Send the book to all subscribers: those that wait, and those that may lack increments."""
        stream.changed()
        return self._send_book(stream, stream.served | stream.waiting)

    def _send_book(self, stream: BookStream, outboxes: Iterable[Outbox]) -> bool:
        """Send the book to clients that have room for it. The others wait, without increments, until they have."""
        ready = stream.serve(outboxes)
        if stream.waiting:
            self._pending[stream] = None
        if ready:  # otherwise the book would be encoded at each increment while a client waits
            self._batch.put(stream.frames(), ready, len(stream))
        return bool(ready)

    def _increment(self, book: str, name: str, body: bytes) -> bool:
        stream = self._stream_of(book)
        if stream is None:
            return False
        result = stream.sync.increment(body)
        stream.changed()
        viewed = self._views.on_increment(name, result, stream.sync.change)
        if result is SyncResult.RESTORED:
            viewed = self._views.on_book(name)
            return self._send_book_to_all(stream) or viewed
        if result is SyncResult.HOLE:
            self._report("hole", name)
        elif result is SyncResult.RESTARTED:
            self._report("restart", name)
        sent = (result.passes_on and self._send(stream.served, name, body)) or viewed
        if stream.waiting and stream.sync.current:
            return self._send_book(stream, stream.waiting) or sent
        return sent


def _kind(name: str) -> str:
    return "prefixed" if name.count(".") == Kind.PREFIXED else "public"


def _book_of(name: str) -> str | None:
    """Return the book to which the increments of a stream belong; None if it is not an `-inc` stream."""
    return name[:-4] if name.endswith("-inc") else None
