"""The life cycle of a consumer's source, as a table. Pure.

A broker may refuse the preferred source, for example because it is too old for streams. The consumer then reads another
source, and tries the preferred one again from time to time on another connection.
"""

from __future__ import annotations

import enum
from typing import Final

from peatio_ws.life_cycle import LifeCycle


class SourceState(enum.Enum):
    """Which source is read."""

    PREFERRED = "the preferred source is read"
    REPLACED = "the broker refuses the preferred source; another one is read"
    TRYING = "another source is read, and the preferred one is being tried"


class SourceInput(enum.Enum):
    """What happens to the preferred source."""

    REFUSE = "the broker refuses it"
    TRY = "a trial begins"
    FAIL = "the trial has failed"
    RESTORE = "the trial has succeeded, or the other source cannot be read either"


_State, _Input = SourceState, SourceInput

SOURCE: Final = LifeCycle(
    {
        (_State.PREFERRED, _Input.REFUSE): _State.REPLACED,
        (_State.REPLACED, _Input.TRY): _State.TRYING,
        (_State.REPLACED, _Input.RESTORE): _State.PREFERRED,
        (_State.TRYING, _Input.FAIL): _State.REPLACED,
        (_State.TRYING, _Input.RESTORE): _State.PREFERRED,
    }
)
"""The next state. Pairs that are not listed cannot happen."""
