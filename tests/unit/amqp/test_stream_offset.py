"""The life cycle of the reader of the history stream: what its table guarantees.

`test_life_cycle.py` walks every pair of state and input.
"""

from __future__ import annotations

import pytest

from peatio_ws.amqp.stream_offset import READER, ReaderInput, ReaderState


@pytest.mark.parametrize("state", ReaderState)
def test_a_lost_connection_ends_every_state(state: ReaderState) -> None:
    assert READER[state, ReaderInput.CLOSED] is ReaderState.CLOSED


def test_nothing_is_current_before_it_is_known_to_be_the_same_stream() -> None:
    ways = [(before, happened) for (before, happened), state in READER.items() if state is ReaderState.CURRENT]
    assert ways == [(ReaderState.READING_BACK, ReaderInput.END_REACHED), (ReaderState.CURRENT, ReaderInput.END_REACHED)]
