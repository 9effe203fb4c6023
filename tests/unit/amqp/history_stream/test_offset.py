"""Offsets in the history stream, and what the table of the reader's life cycle guarantees.

`test_life_cycle.py` tests every pair of state and input.
"""

from __future__ import annotations

import pytest

from peatio_ws.amqp.history_stream.offset import (
    KEPT_HOURS,
    NOT_EVENTS,
    READER,
    ReaderInput,
    ReaderState,
    is_gap,
    start,
)
from peatio_ws.protocol.exchanges import Delivery


@pytest.mark.parametrize("state", ReaderState)
def test_a_lost_connection_ends_every_state(state: ReaderState) -> None:
    assert READER[state, ReaderInput.CLOSED] is ReaderState.CLOSED


def test_reader_is_not_current_before_the_stream_is_verified() -> None:
    ways = [(before, happened) for (before, happened), state in READER.items() if state is ReaderState.CURRENT]
    assert ways == [(ReaderState.READING_BACK, ReaderInput.END_REACHED), (ReaderState.CURRENT, ReaderInput.END_REACHED)]


def test_more_skipped_offsets_than_rabbitmq_uses_are_a_gap() -> None:
    last, near, far = (Delivery("x", "a", {}, b"", offset) for offset in (100, 100 + NOT_EVENTS, 101 + NOT_EVENTS))
    assert not is_gap(last, near)
    assert is_gap(last, far)


@pytest.mark.parametrize(
    ("away", "offset"),
    [(None, "61s"), (0.0, "3s"), (10.5, "13s"), (KEPT_HOURS * 3600 - 3, "3600s"), (KEPT_HOURS * 3600 - 2, "first")],
)
def test_reader_without_position_begins_before_its_last_event(away: float | None, offset: str) -> None:
    assert start(None, 60.0, away) == offset


def test_reader_begins_at_its_last_event() -> None:
    assert start(Delivery("x", "a", {}, b"", 7), 60.0, 10.5) == 7
