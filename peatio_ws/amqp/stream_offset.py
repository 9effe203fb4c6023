"""The life cycle of the reader of the history stream, as a table. Pure.

A reader that had a connection before goes on from the last event that it has read, and has the broker send that event
again. If the same event comes, the stream is the one that was read before. If another one comes, it is a stream of the
same name that was made since, and its position there means nothing.
"""

from __future__ import annotations

import enum
from typing import Final

from peatio_ws.life_cycle import LifeCycle


class ReaderState(enum.Enum):
    """What the reader knows."""

    CLOSED = "no connection"
    PROVING = "waiting for the last event read, to see that it is the same stream"
    READING_BACK = "reading what was published until it was opened"
    CURRENT = "everything published before the last marker has come"
    LOST = "another stream than before; nothing is taken from it until it is opened again"


class ReaderInput(enum.Enum):
    """What happens to it."""

    OPENED = "consuming from a time"
    OPENED_AT_LAST = "consuming from the last event read"
    SAME_EVENT = "the first event is the last one read"
    LATER_EVENT = "the first event is a later one: retention has removed what was between"
    OTHER_EVENT = "another event has the offset of one that was read, or the stream ends before it"
    END_REACHED = "the marker has come, or nothing more can come"
    CLOSED = "the connection has ended"


READER: Final = LifeCycle(
    {
        (ReaderState.CLOSED, ReaderInput.OPENED): ReaderState.READING_BACK,
        (ReaderState.CLOSED, ReaderInput.OPENED_AT_LAST): ReaderState.PROVING,
        (ReaderState.CLOSED, ReaderInput.CLOSED): ReaderState.CLOSED,
        (ReaderState.PROVING, ReaderInput.SAME_EVENT): ReaderState.READING_BACK,
        (ReaderState.PROVING, ReaderInput.LATER_EVENT): ReaderState.READING_BACK,
        (ReaderState.PROVING, ReaderInput.OTHER_EVENT): ReaderState.LOST,
        (ReaderState.PROVING, ReaderInput.CLOSED): ReaderState.CLOSED,
        (ReaderState.READING_BACK, ReaderInput.END_REACHED): ReaderState.CURRENT,
        (ReaderState.READING_BACK, ReaderInput.OTHER_EVENT): ReaderState.LOST,
        (ReaderState.READING_BACK, ReaderInput.CLOSED): ReaderState.CLOSED,
        (ReaderState.CURRENT, ReaderInput.END_REACHED): ReaderState.CURRENT,
        (ReaderState.CURRENT, ReaderInput.OTHER_EVENT): ReaderState.LOST,
        (ReaderState.CURRENT, ReaderInput.CLOSED): ReaderState.CLOSED,
        (ReaderState.LOST, ReaderInput.OTHER_EVENT): ReaderState.LOST,
        (ReaderState.LOST, ReaderInput.CLOSED): ReaderState.CLOSED,
    }
)
"""The next state. A pair that is missing cannot happen."""
