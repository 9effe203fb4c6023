"""The life cycle of the stream's reader: every pair of state and input."""

from __future__ import annotations

import itertools

import pytest

from peatio_ws.amqp.stream_offset import TABLE, ReaderInput, ReaderState, next_state

IMPOSSIBLE = {
    # What is open is not opened.
    *itertools.product(set(ReaderState) - {ReaderState.CLOSED}, [ReaderInput.OPENED, ReaderInput.OPENED_AT_LAST]),
    # Only the first event is compared.
    *itertools.product(set(ReaderState) - {ReaderState.PROVING}, [ReaderInput.SAME_EVENT, ReaderInput.LATER_EVENT]),
    # Nothing comes without a connection, and nothing ends.
    (ReaderState.CLOSED, ReaderInput.OTHER_EVENT),
    (ReaderState.CLOSED, ReaderInput.END_REACHED),
    # Its end says nothing before it is known to be the same stream, or once it is known to be another one.
    (ReaderState.PROVING, ReaderInput.END_REACHED),
    (ReaderState.LOST, ReaderInput.END_REACHED),
}


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(ReaderState, ReaderInput)))
def test_every_pair_is_either_in_the_table_or_impossible(state: ReaderState, happened: ReaderInput) -> None:
    if (state, happened) in IMPOSSIBLE:
        with pytest.raises(KeyError):
            next_state(state, happened)
    else:
        assert next_state(state, happened) is TABLE[state, happened]


@pytest.mark.parametrize("state", ReaderState)
def test_a_lost_connection_ends_every_state(state: ReaderState) -> None:
    assert next_state(state, ReaderInput.CLOSED) is ReaderState.CLOSED


def test_nothing_is_current_before_it_is_known_to_be_the_same_stream() -> None:
    ways = [(before, happened) for (before, happened), state in TABLE.items() if state is ReaderState.CURRENT]
    assert ways == [(ReaderState.READING_BACK, ReaderInput.END_REACHED), (ReaderState.CURRENT, ReaderInput.END_REACHED)]
