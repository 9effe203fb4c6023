"""Which source is read after refusals and trials. `test_life_cycle.py` tests every pair of state and input."""

from __future__ import annotations

import functools

import pytest

from peatio_ws.amqp.source_state import SOURCE, SourceInput, SourceState

REFUSE, TRY, FAIL, RESTORE = SourceInput.REFUSE, SourceInput.TRY, SourceInput.FAIL, SourceInput.RESTORE


@pytest.mark.parametrize(
    ("happened", "state"),
    [
        ([REFUSE], SourceState.REPLACED),
        ([REFUSE, TRY], SourceState.TRYING),
        ([REFUSE, TRY, FAIL], SourceState.REPLACED),
        ([REFUSE, TRY, FAIL, TRY, RESTORE], SourceState.PREFERRED),
        ([REFUSE, RESTORE], SourceState.PREFERRED),  # the other source cannot be read either
        ([REFUSE, TRY, RESTORE, REFUSE], SourceState.REPLACED),
    ],
)
def test_refusals_and_trials_decide_which_source_is_read(happened: list[SourceInput], state: SourceState) -> None:
    assert functools.reduce(lambda before, one: SOURCE[before, one], happened, SourceState.PREFERRED) is state
