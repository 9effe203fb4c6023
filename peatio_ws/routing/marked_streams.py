"""Trades streams for clients that want those of the meantime when they come back (docs/protocol.md, "Trades
across a cut").

Never waits: puts frames into outboxes through the worker's batch. What a mark is, and when it means anything, is in
`trade_history.py`. Other subscribers of the same streams are in `channels.py`, and cost nothing more than before.

A history has no hole: it begins with the first event after somebody subscribed, and is forgotten as soon as the worker
may not receive the stream.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from peatio_ws.protocol import encoding
from peatio_ws.routing.audience import Audience, add_subscriber, remove_subscriber, subscribers
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.trade_history import TradeHistory
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox

MOST_BYTES: Final = 16 * 2**20
"""Bytes of all histories of a worker. The streams that were quiet for longest are forgotten first."""
LARGEST_BODY: Final = 65_536
"""Bytes of an event that is kept. A larger one ends the history before it."""


class MarkedStreams:
    """The trades streams of one worker, with their marks.

    Args:
        batch: the outboxes to flush.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._followers: dict[str, Audience] = {}  # clients that receive marks, by stream
        self._histories: OrderedDict[str, TradeHistory] = OrderedDict()  # the one with the newest event last
        self._size = 0

    def __len__(self) -> int:
        """Return the number of streams with a follower."""
        return len(self._followers)

    @property
    def size(self) -> int:
        """Bytes of all histories."""
        return self._size

    def has_followers(self, name: str) -> bool:
        """Return whether a client receives a stream with marks."""
        return name in self._followers

    def has_history(self, name: str) -> bool:
        """Return whether events of a stream are kept."""
        return name in self._histories

    def follow(self, outbox: Outbox, name: str) -> bool:
        """Send a client a stream from now on, with marks. Return whether it is new."""
        return add_subscriber(self._followers, name, outbox)

    def unfollow(self, outbox: Outbox, name: str) -> bool:
        """Stop sending it. Return whether the client had it."""
        return remove_subscriber(self._followers, name, outbox)

    def prepare(self, name: str) -> None:
        """Make the marks of all events of a stream, so that `since` takes no time."""
        if (history := self._histories.get(name)) is not None:
            history.make_marks()

    def mark(self, name: str) -> str:
        """Return the mark of the newest event; empty if there is none."""
        history = self._histories.get(name)
        return "" if history is None else history.mark()

    def since(self, name: str, mark: str, most: int) -> list[bytes] | None:
        """Return the frames after the event with a mark, for a follower; None if that cannot be guaranteed.

        Args:
            most: bytes of their bodies; with more, the answer is None.
        """
        history = self._histories.get(name)
        missed = None if history is None else history.since(mark, time.monotonic())
        if missed is None or sum(len(event.body) for event in missed) > most:
            return None
        return [_frame(name, event.body, event.mark or "") for event in missed]

    def on_event(self, name: str, body: bytes, followed: bool) -> bool:
        """A trades stream was published. Return whether it was sent to anybody.

        Args:
            followed: whether it has other subscribers, so that the worker receives all its events.
        """
        followers, history = self._followers.get(name), self._histories.get(name)
        if history is None:
            if followers is None and not followed:
                return False
            history = self._histories[name] = TradeHistory(name)
        else:
            self._histories.move_to_end(name)
        if len(body) > LARGEST_BODY:
            self.forget(name)
        else:
            self._size += history.add(body, time.monotonic())
            while self._size > MOST_BYTES:
                self.forget(next(iter(self._histories)))
        if followers is None:
            return False
        self._batch.put(_frame(name, body, self.mark(name)), subscribers(followers))
        return True

    def forget(self, name: str) -> None:
        """The worker may not receive all events of a stream: drop its history."""
        history = self._histories.pop(name, None)
        if history is not None:
            self._size -= history.size

    def forget_all(self) -> None:
        """The worker receives no events for a while: drop all histories."""
        self._histories.clear()
        self._size = 0

    def on_gap(self) -> None:
        """Events may be missing: drop all histories, and notify the followers."""
        self.forget_all()
        for name, followers in self._followers.items():
            self._batch.put(text_frame(encoding.incomplete(name)), subscribers(followers))
        self._batch.flush()


def _frame(name: str, body: bytes, mark: str) -> bytes:
    event = encoding.stream_event(name, body)
    return text_frame(encoding.with_mark(event, mark) if mark else event)
