"""Who may use the HTTP interface, and for how long an address is locked out."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.server.operator_port import access
from peatio_ws.server.operator_port.access import FAILURES_KEPT, MOST_FAILURES, FailedTokens
from tests.unit.samples import settings

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def failed(monkeypatch: pytest.MonkeyPatch) -> FailedTokens:
    made = FailedTokens()
    monkeypatch.setattr(access, "_failed", made)
    return made


def status(authorization: str | None, address: str = "203.0.113.7", **environ: Any) -> str:
    given = {"REMOTE_ADDR": address, **environ}
    if authorization is not None:
        given["HTTP_AUTHORIZATION"] = authorization
    refused = access.refusal(given, settings(TRUSTED_PROXIES="10.0.0.1"), TOKEN)
    return "200" if refused is None else refused.status[:3]


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_bearer_of_the_token_is_admitted(scheme: str) -> None:
    assert status(scheme + TOKEN) == "200"


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", "Bearer \xe9"],
)
def test_anything_else_is_refused(authorization: str | None) -> None:
    assert status(authorization) == "401"


def test_address_is_locked_out_after_ten_failures() -> None:
    assert [status("Bearer wrong") for _ in range(MOST_FAILURES)] == ["401"] * MOST_FAILURES
    assert status(f"Bearer {TOKEN}") == "429"
    assert status(f"Bearer {TOKEN}", "203.0.113.8") == "200"


def test_addresses_of_one_ipv6_network_count_together() -> None:
    for number in range(MOST_FAILURES):
        status("Bearer wrong", f"2001:db8::{number}")
    assert status(f"Bearer {TOKEN}", "2001:db8::ffff") == "429"
    assert status(f"Bearer {TOKEN}", "2001:db8:0:1::1") == "200"


def test_clients_of_a_proxy_count_for_themselves() -> None:
    for _ in range(MOST_FAILURES):
        status("Bearer wrong", "10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1")
    assert status(f"Bearer {TOKEN}", "10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1") == "429"
    assert status(f"Bearer {TOKEN}", "10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.2") == "200"


def test_answers_say_what_to_do() -> None:
    refused = access.refusal({"REMOTE_ADDR": "::1"}, settings(), TOKEN)
    assert refused is not None
    assert refused.headers == (("WWW-Authenticate", "Bearer"),)
    for _ in range(MOST_FAILURES):
        refused = access.refusal({"REMOTE_ADDR": "::1"}, settings(), TOKEN)
    assert refused is not None
    assert refused.headers == (("Retry-After", "60"),)


@given(st.lists(st.floats(0, 100), min_size=MOST_FAILURES, max_size=30), st.floats(100, 200))
def test_lockout_ends_a_minute_after_the_tenth_last_failure(times: list[float], now: float) -> None:
    failed = FailedTokens()
    for at in sorted(times):
        failed.add("a", at + 1)
    since = sorted(times)[-MOST_FAILURES] + 1
    left = failed.seconds_left("a", now)
    assert left == 0 if now - since >= 60 else 0 <= left - (since + 60 - now) < 1
    assert failed.seconds_left("b", now) == 0


def test_failures_are_bounded(failed: FailedTokens) -> None:
    for number in range(FAILURES_KEPT + 5):
        failed.add(str(number), 1.0 + number / 1e6)
    assert len(list(access._FAILURE.iter_unpack(failed._memory[8:]))) == FAILURES_KEPT


def test_processes_count_together(failed: FailedTokens) -> None:
    child = os.fork()
    if not child:
        for _ in range(MOST_FAILURES):
            failed.add("a", 1.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert failed.seconds_left("a", 2.0) == 59
