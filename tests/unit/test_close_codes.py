"""The table of close codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import Disconnect

MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


def test_close_codes_are_documented() -> None:
    assert set(Close) == {1000, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4413}


@pytest.mark.parametrize("code", Close)
def test_every_code_has_a_reason_that_fits_into_a_close_frame(code: Close) -> None:
    assert len(REASONS[code].encode()) <= 123


def test_restart_reason_has_the_seconds_to_wait() -> None:
    words, _, seconds = REASONS[Close.RESTART].rpartition(" ")
    assert words == "restart; retry after"
    assert int(seconds) > 0


@given(st.integers(-10, 70_000).filter(lambda code: code not in MAY_BE_SENT) | st.sampled_from([1016, 2000, 2999]))
def test_no_code_that_the_rfc_reserves_can_be_sent(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Disconnect(code)
