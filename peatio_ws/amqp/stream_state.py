"""The life cycle of the reader of the history stream, as a table. Pure.

A reader that had a connection before goes on from the last event that it has read, and has the broker send that event
again. If the same event comes, the stream is the one that was read before. If another one comes, it is a stream of the
same name that was made since, and its position there means nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.Enum):
    """What the reader knows."""

    CLOSED = "no connection"
    PROVING = "waiting for the last event read, to see that it is the same stream"
    READING_BACK = "reading what was published until it was opened"
    CURRENT = "everything published before the last marker has come"
    LOST = "another stream than before; nothing is taken from it until it is opened again"


class Input(enum.Enum):
    """What happens to it."""

    OPENED = "consuming from a time"
    OPENED_AT_LAST = "consuming from the last event read"
    SAME_EVENT = "the first event is the last one read"
    LATER_EVENT = "the first event is a later one: retention has removed what was between"
    OTHER_EVENT = "another event has the offset of one that was read, or the stream ends before it"
    END_REACHED = "the marker has come, or nothing more can come"
    CLOSED = "the connection has ended"


TABLE: Final[Mapping[tuple[State, Input], State]] = {
    (State.CLOSED, Input.OPENED): State.READING_BACK,
    (State.CLOSED, Input.OPENED_AT_LAST): State.PROVING,
    (State.CLOSED, Input.CLOSED): State.CLOSED,
    (State.PROVING, Input.SAME_EVENT): State.READING_BACK,
    (State.PROVING, Input.LATER_EVENT): State.READING_BACK,
    (State.PROVING, Input.OTHER_EVENT): State.LOST,
    (State.PROVING, Input.CLOSED): State.CLOSED,
    (State.READING_BACK, Input.END_REACHED): State.CURRENT,
    (State.READING_BACK, Input.OTHER_EVENT): State.LOST,
    (State.READING_BACK, Input.CLOSED): State.CLOSED,
    (State.CURRENT, Input.END_REACHED): State.CURRENT,
    (State.CURRENT, Input.OTHER_EVENT): State.LOST,
    (State.CURRENT, Input.CLOSED): State.CLOSED,
    (State.LOST, Input.OTHER_EVENT): State.LOST,
    (State.LOST, Input.CLOSED): State.CLOSED,
}
"""The next state. A pair that is missing cannot happen: it is a bug, and a KeyError."""


def after(state: State, happened: Input) -> State:
    """Return the state after an input. Raises KeyError for a pair that cannot happen."""
    return TABLE[state, happened]
