"""When the Python client asks for a fresh token."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peatio_client._tokens import EARLY_SECONDS, Renewal, claim

NOW = 1_000_000.0


def token(**claims: Any) -> str:
    return jwt.encode(claims, "a secret that is long enough for HS256", "HS256")


@pytest.mark.parametrize("name", ["ID1", "ID12", "ID123", "ÄÖÜ", "???>>>"])
def test_reads_exp_whatever_the_padding(name: str) -> None:
    assert claim(token(uid=name, exp=1234), "exp") == 1234


@pytest.mark.parametrize(
    "text",
    ["", "any", "a.b.c", "a.e30.c", "a.W10.c", "a.bnVsbA.c", token(exp="soon"), token(exp=1e999), token(uid="x")],
)
def test_token_without_expiry_is_never_renewed(text: str) -> None:
    assert claim(text, "exp") is None
    renewal = Renewal()
    renewal.shown(text, NOW)
    assert renewal.due == math.inf


@given(st.integers(1, 10**9))
def test_a_fresh_one_is_due_in_time_and_not_at_once(left: int) -> None:
    renewal = Renewal()
    renewal.shown(token(exp=NOW + left), NOW)
    assert NOW < renewal.due < NOW + left
    assert renewal.due == NOW + left - min(EARLY_SECONDS, left / 4)


def test_it_is_asked_for_again_before_the_end_and_then_ever_less_often() -> None:
    renewal = Renewal()
    renewal.shown(token(exp=NOW + 3600), NOW)
    asked = []
    while len(asked) < 40:
        asked.append(renewal.due)
        renewal.put_off(renewal.due)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert sum(when < NOW + 3600 for when in asked) >= 4
    assert min(pauses) >= 0.5
    assert pauses[-1] == 60.0


def test_a_token_that_seems_over_is_followed_soon() -> None:
    renewal = Renewal()
    renewal.shown(token(exp=NOW - 5), NOW)
    assert NOW < renewal.due <= NOW + 1


def test_a_clock_that_is_ahead_does_not_ask_for_tokens_all_the_time() -> None:
    renewal, now = Renewal(), NOW
    for _ in range(10):
        renewal.shown(token(exp=now - 3600, jti=str(now)), now)
        pause, now = renewal.due - now, renewal.due
    assert pause == 60.0


def test_a_clock_that_is_behind_does_not_renew_too_late() -> None:
    renewal = Renewal()
    renewal.shown(token(iat=NOW + 600, exp=NOW + 1500), NOW)
    assert renewal.due == NOW + 900 - EARLY_SECONDS
    renewal.shown(token(iat=NOW - 600, exp=NOW + 300), NOW)
    assert renewal.due == NOW + 300 - EARLY_SECONDS, "and an old token ends at its exp"
