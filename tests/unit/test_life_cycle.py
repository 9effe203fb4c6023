"""The life cycles: every pair of state and input, and the pictures in docs/architecture.md."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import pytest

from peatio_ws.amqp.history_stream.offset import ReaderInput, ReaderState
from peatio_ws.amqp.source_state import SourceInput, SourceState
from peatio_ws.life_cycle import ImpossibleInput, LifeCycle
from peatio_ws.protocol.connection_state import ConnectionInput, ConnectionState
from tests.programs import life_cycles
from tests.programs.life_cycles import CYCLES, Cycle

Pairs = set[tuple[Any, Any]]


def pairs(states: Any, inputs: Any) -> Pairs:
    return set(itertools.product(states, inputs))


State, Input = ConnectionState, ConnectionInput
Reader, Event = ReaderState, ReaderInput
REPLACED = {SourceState.REPLACED, SourceState.TRYING}
AUTHENTICATED = {State.ADMITTING, State.PENDING, State.REPLAYING, State.LIVE}
CONNECTION_IMPOSSIBLE: dict[str, Pairs] = {
    "an ended connection has no inputs": pairs([State.ENDED], Input),
    "only the first valid token admits": pairs(AUTHENTICATED, [Input.ADMIT]),
    "an anonymous connection has no private events": pairs(
        [State.OPEN, State.PUBLIC], [Input.RESUME, Input.REPLAY, Input.GO_LIVE]
    ),
    "nothing is replayed that was not promised": pairs(set(State) - {State.PENDING}, [Input.REPLAY]),
    "a connection goes live once": {(State.LIVE, Input.GO_LIVE)},
    "a promise is kept before the connection goes live": {(State.PENDING, Input.GO_LIVE)},
    "messages wait until the replay is over": pairs([State.REPLAYING], [Input.SUBSCRIBE, Input.RESUME]),
}
IMPOSSIBLE: dict[str, dict[str, Pairs]] = {
    "Peatio connection": CONNECTION_IMPOSSIBLE,
    "handler connection": CONNECTION_IMPOSSIBLE,
    "history stream": {
        "an open stream is not opened": pairs(set(Reader) - {Reader.CLOSED}, [Event.OPENED, Event.OPENED_AT_LAST]),
        "only the first event is compared": pairs(
            set(Reader) - {Reader.PROVING}, [Event.SAME_EVENT, Event.LATER_EVENT]
        ),
        "nothing arrives without a connection": pairs([Reader.CLOSED], [Event.OTHER_EVENT, Event.END_REACHED]),
        "the end means nothing unless it is the same stream": pairs([Reader.PROVING, Reader.LOST], [Event.END_REACHED]),
    },
    "broker source": {
        "only the preferred source is refused": pairs(REPLACED, [SourceInput.REFUSE]),
        "the preferred source is not tried while it is read": pairs([SourceState.PREFERRED], [SourceInput.TRY]),
        "it cannot be restored while it is read": pairs([SourceState.PREFERRED], [SourceInput.RESTORE]),
        "there is one trial at a time": {(SourceState.TRYING, SourceInput.TRY)},
        "without a trial none fails": pairs(set(SourceState) - {SourceState.TRYING}, [SourceInput.FAIL]),
    },
}
"""Pairs that cannot happen, by life cycle and reason."""

EVERY_PAIR = [
    (name, state, happened)
    for name, cycle in CYCLES.items()
    for state, happened in itertools.product(cycle.states, cycle.inputs)
]


@pytest.mark.parametrize(("name", "state", "happened"), EVERY_PAIR)
def test_every_pair_has_a_next_state_or_cannot_happen(name: str, state: enum.Enum, happened: enum.Enum) -> None:
    cycle = CYCLES[name]
    reasons = [reason for reason, impossible in IMPOSSIBLE[name].items() if (state, happened) in impossible]
    if reasons:
        with pytest.raises(ImpossibleInput, match=f"{happened.name} in the state {state.name}"):
            LifeCycle(cycle.table)[state, happened]
    else:
        assert cycle.table[state, happened] in cycle.states


@pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)
def test_every_state_can_be_reached_and_left(cycle: Cycle) -> None:
    reached = {cycle.first}
    for _ in cycle.states:
        reached |= {after for (before, _), after in cycle.table.items() if before in reached}
    assert reached == set(cycle.states)
    left = {before for (before, _), after in cycle.table.items() if after is not before}
    assert reached - left <= {State.ENDED}


def test_each_section_of_the_page_is_drawn_from_its_table() -> None:
    page = life_cycles.PAGE.read_text()
    assert life_cycles.names(page) == list(CYCLES)
    assert life_cycles.drawn(page) == page, "run: python -m tests.programs.life_cycles"
