"""The life cycle of a connection: what its table guarantees to a client."""

from __future__ import annotations

import pytest

from peatio_ws.protocol.connection_state import CONNECTION, ConnectionInput, ConnectionState

State, Input = ConnectionState, ConnectionInput


def ways_into(state: ConnectionState) -> set[tuple[ConnectionState, ConnectionInput]]:
    """Return the pairs of state and input that lead into a state from another one."""
    return {(before, happened) for (before, happened), after in CONNECTION.items() if after is state is not before}


def test_events_are_live_only_after_any_missed_ones() -> None:
    assert ways_into(State.LIVE) == {(State.ADMITTING, Input.GO_LIVE), (State.REPLAYING, Input.GO_LIVE)}


def test_only_a_replay_or_the_end_leaves_the_pending_replay() -> None:
    left = {happened for (before, happened), after in CONNECTION.items() if before is State.PENDING is not after}
    assert left == {Input.REPLAY, Input.END}


def test_a_connection_never_becomes_anonymous_again() -> None:
    assert ways_into(State.OPEN) == set()
    assert ways_into(State.PUBLIC) == {(State.OPEN, Input.SUBSCRIBE)}


@pytest.mark.parametrize("state", [state for state in State if state is not State.ENDED])
def test_a_connection_may_end_in_every_state(state: ConnectionState) -> None:
    assert CONNECTION[state, Input.END] is State.ENDED
