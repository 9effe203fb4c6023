"""Life cycles as tables: a state and an input give the next state. Pure.

The tables are next to what they describe: `protocol/connection_state.py`, `amqp/source_state.py`,
`amqp/history_stream/offset.py`. The pictures in docs/architecture.md are drawn from them.
"""

from __future__ import annotations

import enum
from typing import NoReturn, TypeVar

State = TypeVar("State", bound=enum.Enum)
Input = TypeVar("Input", bound=enum.Enum)


class ImpossibleInput(RuntimeError):
    """A life cycle has no entry for this input in this state: a bug in the gateway."""


class LifeCycle(dict[tuple[State, Input], State]):
    """The next state by state and input, read as `TABLE[state, input]`.

    Raises:
        ImpossibleInput: the pair is not in the table.
    """

    __slots__ = ()

    def __missing__(self, pair: tuple[State, Input]) -> NoReturn:
        state, happened = pair
        raise ImpossibleInput(f"{happened.name} in the state {state.name}")
