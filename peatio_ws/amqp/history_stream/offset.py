"""Offsets in the history stream: where a reader begins, what a gap is, and the reader's life cycle as a table. Pure.

A reader that reconnects continues from the last event that it has read, and asks the broker to send that event again.
If the same event arrives, the stream is the same as before. If another event arrives, the stream was deleted and
created again, and the reader's position is meaningless.
"""

from __future__ import annotations

import enum
from typing import Final

from peatio_ws.life_cycle import LifeCycle
from peatio_ws.protocol.exchanges import Delivery

NOT_EVENTS: Final = 16
"""RabbitMQ's own records take up to this many offsets between two events, one per segment. A larger difference is a
gap, because retention removes whole segments, which have more, unless events are larger than 60 kB."""
KEPT_HOURS: Final = 1
"""How long RabbitMQ keeps events in the stream."""
MARGIN_SECONDS: Final = 2
"""A returning reader begins this much before its last event, because the clocks of hosts differ."""


class ReaderState(enum.Enum):
    """What the reader knows about its position."""

    CLOSED = "no connection"
    PROVING = "waiting for the last event read, to check that the stream is the same"
    READING_BACK = "reading the events that were published before it was opened"
    CURRENT = "everything published before the last marker has been received"
    LOST = "a different stream than before; its events are ignored until it is opened again"


class ReaderInput(enum.Enum):
    """What happens to the reader."""

    OPENED = "consuming from a time"
    OPENED_AT_LAST = "consuming from the last event read"
    SAME_EVENT = "the first event is the last one read"
    LATER_EVENT = "the first event is a later one: retention has removed the events between"
    OTHER_EVENT = "a different event has the offset of one that was read, or the stream ends before it"
    END_REACHED = "the marker has arrived, or no more events can arrive"
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
"""The next state. Pairs that are not listed cannot happen."""


def offset_of(delivery: Delivery) -> int:
    """Return the offset of a delivery that comes from a stream."""
    assert delivery.offset is not None
    return delivery.offset


def is_gap(last: Delivery, delivery: Delivery) -> bool:
    """Return whether events between these deliveries are missing, because retention has removed them."""
    return (delivery.offset or 0) - (last.offset or 0) > NOT_EVENTS


def start(last: Delivery | None, history_seconds: float, away: float | None) -> int | str:
    """Return where a reader begins, as RabbitMQ's `x-stream-offset`: at its last event, which verifies the stream.

    Args:
        last: the last event that it read; None if there is none, or it is not in the stream.
        history_seconds: how much history a new worker reads.
        away: seconds since this worker read its last event; None if it has read none.
    """
    if last is not None:
        return offset_of(last)
    if away is None:
        return f"{int(history_seconds) + 1}s"
    seconds = away + MARGIN_SECONDS
    return f"{int(seconds) + 1}s" if seconds < KEPT_HOURS * 3600 else "first"
