"""The last events of a trades stream, and the marks by which a client that comes back says how far it came.

Pure: bodies and times in, marks and bodies out. Does not know who receives them (`marked_streams.py`).

Theory of operation. A worker's own count of events means nothing to another worker, and a publisher's events have no
number. So a mark is made from content: the name of the stream, and digests of the event and of the `WINDOW - 1` before
it. Every worker that received these events in this order has the same mark for the last of them. One event alone would
not do. Two publishers' events may reach two workers in different orders; then their marks differ, and no worker takes
an event for received that was not. Bodies may repeat, so a mark that occurs twice, or that is made of few different
bodies, means nothing.

Marks cost some microseconds, so they are made when a client needs one: without such a client, an event costs an entry
in a queue.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from itertools import islice
from typing import Final

import msgspec

WINDOW: Final = 8
"""Events in a mark. An event that one worker receives this many events earlier than another worker is not noticed."""
LEAST_DIFFERENT: Final = 4
"""Different bodies among the events of a mark."""
MOST_EVENTS: Final = 100
"""Events that a client may have missed."""
MOST_SECONDS: Final = 300.0
"""Age of the events that a client may have missed."""
OVERHEAD_BYTES: Final = 250
"""Memory of an event besides its body."""
_KEPT: Final = MOST_EVENTS + WINDOW
_DIGEST_BYTES: Final = 8
_MARK_BYTES: Final = 12  # 16 characters


class MarkedEvent(msgspec.Struct, gc=False):
    """An event of a trades stream.

    Attributes:
        at: monotonic time at which it came.
        digest: of the body; None if it was not made yet.
        mark: None if it was not made yet; empty if the event has none.
    """

    body: bytes
    at: float
    digest: bytes | None = None
    mark: str | None = None


class TradeHistory:
    """The last events of a stream, without a hole between them.

    Attributes:
        size: bytes of memory.
    """

    __slots__ = ("_events", "_stream", "size")

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._events: deque[MarkedEvent] = deque()
        self.size = 0

    def add(self, body: bytes, now: float) -> int:
        """Add the newest event. Return by how much `size` has changed."""
        events, change = self._events, len(body) + OVERHEAD_BYTES
        events.append(MarkedEvent(body, now))
        # The last `WINDOW` old ones are kept: the mark of the last of them is needed.
        while len(events) > WINDOW and (len(events) > _KEPT or now - events[WINDOW].at > MOST_SECONDS):
            change -= len(events.popleft().body) + OVERHEAD_BYTES
        self.size += change
        return change

    def mark(self) -> str:
        """Return the mark of the newest event; empty if it has none."""
        if not self._events:
            return ""
        newest = self._events[-1]
        if newest.mark is None:
            first = max(0, len(self._events) - WINDOW)
            newest.mark = self._made_of(list(islice(self._events, first, None)))
        return newest.mark

    def make_marks(self) -> list[MarkedEvent]:
        """Make the marks of all events that have none yet, and return the events."""
        events = list(self._events)
        for place, event in enumerate(events):
            if event.mark is None:
                event.mark = self._made_of(events[max(0, place + 1 - WINDOW) : place + 1])
        return events

    def since(self, mark: str, now: float) -> list[MarkedEvent] | None:
        """Return the events after the one with a mark; None if there is no such event, if it may be another one, or if
        there were more since than are kept."""
        events = self.make_marks()
        places = [place for place, event in enumerate(events) if mark and event.mark == mark]
        if len(places) != 1:
            return None
        missed = events[places[0] + 1 :]
        if len(missed) > MOST_EVENTS or (missed and now - missed[0].at > MOST_SECONDS):
            return None
        return missed

    def _made_of(self, window: list[MarkedEvent]) -> str:
        if len(window) < WINDOW:
            return ""
        for event in window:
            if event.digest is None:
                event.digest = hashlib.blake2b(event.body, digest_size=_DIGEST_BYTES).digest()
        digests = [event.digest or b"" for event in window]
        if len(set(digests)) < LEAST_DIFFERENT:
            return ""
        made = hashlib.blake2b(self._stream.encode() + b"".join(digests), digest_size=_MARK_BYTES)
        return base64.urlsafe_b64encode(made.digest()).decode()
