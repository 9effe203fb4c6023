"""The table of close codes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import Disconnect
from tests.support.gateway import ROOT

MAY_BE_SENT = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


def test_the_table_of_the_protocol_lists_every_close_code() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    table = page.partition("## Close codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", table, re.MULTILINE)} == set(Close)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("docs/asyncapi.yaml", r"properties: \{code: \{const: (\d{4})\}"),
        ("peatio_ws/server/operator_port/static/ends.mjs", r"^  (\d{4}): \""),
    ],
)
def test_every_code_is_described(path: str, pattern: str) -> None:
    assert {int(code) for code in re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)} >= set(Close)


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
