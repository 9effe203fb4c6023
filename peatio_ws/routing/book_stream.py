"""An `-inc` stream: its book, the subscribers that have the book, and those that wait for it.

Never waits. Knows neither other streams nor the batch (`channels.py`). How increments change the book is in
`orderbook/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from peatio_ws.orderbook.sync import BookSync
from peatio_ws.protocol import encoding
from peatio_ws.protocol.stream_syntax import client_name
from peatio_ws.transport.compression import Variants
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

BOOKS_OF_ROOM: Final = 4
"""The limit of a client's outbox is at least this many times the largest book to which it subscribed."""


class BookStream:
    """A `<name>-inc` stream that has been published.

    Args:
        name: of the book.
        waiting: the subscribers so far.

    Attributes:
        served: subscribers that have received a book, and get every increment since.
        waiting: subscribers that get the book as soon as there is one and their outbox has room. A subscriber that has
            received a book, and asked again while there was none, is in both.
        touched: whether a message came for it since this was last set to False.
    """

    __slots__ = ("_frames", "name", "served", "sync", "touched", "waiting")

    def __init__(self, name: str, waiting: Iterable[Outbox] = ()) -> None:
        self.name = name
        self.sync = BookSync()
        self.served: dict[Outbox, None] = {}
        self.waiting = dict.fromkeys(waiting)
        self._frames: Variants | None = None
        self.touched = False

    def changed(self) -> None:
        """A message came for the stream."""
        self._frames = None
        self.touched = True

    def __len__(self) -> int:
        """Return the number of frames of the book."""
        return len(self.sync.first_frames())

    def frames(self) -> Variants:
        """Return the book as frames, encoded and compressed once for all subscribers until it changes again."""
        if self._frames is None:
            name = client_name(self.name)
            texts = [encoding.stream_event(f"{name}-{kind}", body) for kind, body in self.sync.first_frames()]
            self._frames = Variants(b"".join(map(text_frame, texts)))
        return self._frames

    def has(self, outbox: Outbox) -> bool:
        """Return whether a client is a subscriber."""
        return outbox in self.served or outbox in self.waiting

    def subscribe(self, outbox: Outbox) -> int:
        """Put the book into a client's outbox, or let the client wait for one. Return the number of frames."""
        if not self.sync.current:
            self.waiting[outbox] = None
            return 0
        frames = self.frames()
        self._serve(outbox, frames)
        outbox.put(frames[outbox.compression])
        return 0 if outbox.closing else len(self)

    def unsubscribe(self, outbox: Outbox) -> bool:
        """Remove a subscriber. Return whether it was one."""
        was_one = self.has(outbox)
        self.served.pop(outbox, None)
        self.waiting.pop(outbox, None)
        return was_one

    def serve(self, outboxes: Iterable[Outbox]) -> list[Outbox]:
        """Return the subscribers that have room for the book, which the caller sends them. The others wait, without
        increments, until they have."""
        ready = list[Outbox]()
        for outbox in list(outboxes):
            if not outbox.has_room():
                self.unsubscribe(outbox)
                self.waiting[outbox] = None  # at the end
            else:
                self._serve(outbox, self.frames())
                ready.append(outbox)
        return ready

    def _serve(self, outbox: Outbox, book: Variants) -> None:
        self.waiting.pop(outbox, None)
        self.served[outbox] = None
        outbox.limit = max(outbox.limit, BOOKS_OF_ROOM * len(book[None]))
