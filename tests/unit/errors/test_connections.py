"""What ends a connection: its code, and its reason."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import ClientError, Disconnect, PeatioWsError, Refused

MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize(
    ("error", "code"),
    [(Disconnect(4000), 4000), (ClientError("no"), Close.POLICY), (Refused("403 Forbidden", "No."), Close.POLICY)],
)
def test_error_that_ends_a_connection_has_a_close_code(error: PeatioWsError, code: int) -> None:
    assert error.close == code


@pytest.mark.parametrize("code", Close)
def test_disconnect_has_the_reason_of_its_code(code: Close) -> None:
    assert Disconnect(code).reason == REASONS[code]


@given(st.sampled_from(sorted(MAY_BE_SENT)), st.text())
def test_disconnect_keeps_its_code_and_reason(code: int, reason: str) -> None:
    disconnect = Disconnect(code, reason)
    assert (disconnect.code, disconnect.reason) == (code, reason)


def test_private_code_has_no_default_reason() -> None:
    assert Disconnect(4999).reason == ""


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 5000, 65_536])
def test_reserved_close_code_is_a_value_error(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        Disconnect(code)


def test_refusal_has_all_parts_of_an_http_answer() -> None:
    refused = Refused("429 Too Many Requests", "Too many.", (("Retry-After", "5"),), Close.FULL)
    assert (refused.status, refused.text, refused.headers, refused.close) == (
        "429 Too Many Requests",
        "Too many.",
        (("Retry-After", "5"),),
        Close.FULL,
    )


def test_utf_8_can_encode_any_text_of_a_client() -> None:
    """`json.loads` returns half of a surrogate pair where the client's JSON has one."""
    text = json.loads(r'"no room \ud83d"')
    assert Disconnect(4000, text).reason == ClientError(text).text == Refused("404 Not Found", text).text == "no room ?"
