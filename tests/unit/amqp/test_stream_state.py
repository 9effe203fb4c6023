"""The life cycle of the stream's reader: every pair of state and input."""

from __future__ import annotations

import itertools

import pytest

from peatio_ws.amqp.stream_state import TABLE, Input, State, after

IMPOSSIBLE = {
    # What is open is not opened.
    *itertools.product(set(State) - {State.CLOSED}, [Input.OPENED, Input.OPENED_AT_LAST]),
    # Only the first event is compared.
    *itertools.product(set(State) - {State.PROVING}, [Input.SAME_EVENT, Input.LATER_EVENT]),
    # Nothing comes without a connection, and nothing ends.
    (State.CLOSED, Input.OTHER_EVENT),
    (State.CLOSED, Input.END_REACHED),
    # Its end says nothing before it is known to be the same stream, or once it is known to be another one.
    (State.PROVING, Input.END_REACHED),
    (State.LOST, Input.END_REACHED),
}


@pytest.mark.parametrize(("state", "happened"), list(itertools.product(State, Input)))
def test_every_pair_is_either_in_the_table_or_impossible(state: State, happened: Input) -> None:
    if (state, happened) in IMPOSSIBLE:
        with pytest.raises(KeyError):
            after(state, happened)
    else:
        assert after(state, happened) is TABLE[state, happened]


@pytest.mark.parametrize("state", State)
def test_a_lost_connection_ends_every_state(state: State) -> None:
    assert after(state, Input.CLOSED) is State.CLOSED


def test_nothing_is_current_before_it_is_known_to_be_the_same_stream() -> None:
    ways = [(before, happened) for (before, happened), state in TABLE.items() if state is State.CURRENT]
    assert ways == [(State.READING_BACK, Input.END_REACHED), (State.CURRENT, Input.END_REACHED)]
