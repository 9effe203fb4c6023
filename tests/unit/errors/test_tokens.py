"""Tokens that are refused, and those that cannot be verified yet."""

from __future__ import annotations

import pytest

from peatio_ws.close_codes import Close
from peatio_ws.errors import AuthenticationError, Delay, TokenFault, TryLater


@pytest.mark.parametrize("fault", TokenFault)
def test_every_fault_of_a_token_has_a_remedy(fault: TokenFault) -> None:
    assert AuthenticationError("any words", fault).remedy


@pytest.mark.parametrize(("delay", "status"), [(Delay.NO_KEY, 503), (Delay.TOO_MANY_FAILURES, 429)])
def test_delay_is_answered_with_a_time_over_http(delay: Delay, status: int) -> None:
    refused = TryLater(delay, 7).refusal()
    assert (refused.code, refused.close, refused.headers) == (status, Close.FULL, (("Retry-After", "7"),))
