"""The syntax of stream names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.protocol.stream_syntax import MAX_CHARACTERS, Kind, client_name, is_permitted, is_trades, kind_of

ROLES = {"admin": frozenset({"admin"}), "": frozenset({"admin"})}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("order", Kind.PRIVATE),
        ("deposit_address", Kind.PRIVATE),
        ("btcusd.trades", Kind.PUBLIC),
        ("btcusd.kline-15m", Kind.PUBLIC),
        ("btc/usd.ob-inc", Kind.PUBLIC),
        ("global.tickers", Kind.PUBLIC),
        ("admin.eurusd.sys", Kind.PREFIXED),
        ("a" * MAX_CHARACTERS, Kind.PRIVATE),
        ("a" * (MAX_CHARACTERS + 1), None),
        ("", None),
        ("btcusd.*", None),
        ("#", None),
        ("a.b.c.d", None),
        ("a..b", None),
        ("order\n", None),
        ("ordér", None),
    ],
)
def test_number_of_dots_determines_the_kind(name: str, kind: Kind | None) -> None:
    assert kind_of(name) is kind


@given(st.text())
def test_no_valid_name_contains_a_wildcard_of_the_broker(name: str) -> None:
    if kind_of(name) is not None:
        assert not set(name) & set('*#" \n\\')
        assert all(name.split("."))


def test_prefix_requires_a_role_and_unknown_prefixes_are_denied() -> None:
    assert is_permitted("admin.a.b", "admin", ROLES)
    assert not is_permitted("admin.a.b", "member", ROLES)
    assert not is_permitted("admin.a.b", "", {"admin": frozenset({""})})
    assert not is_permitted("secret.a.b", "admin", ROLES)


def test_clients_see_a_prefixed_stream_without_its_prefix() -> None:
    assert [client_name(name) for name in ("order", "a.b", "admin.a.b")] == ["order", "a.b", "a.b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("btcusd.trades", True),
        ("global.trades", True),
        ("trades", False),
        ("admin.btcusd.trades", False),
        ("btcusd.trades@1000ms", False),
        ("btcusd.mytrades", False),
    ],
)
def test_streams_of_trades_are_public_ones_of_that_name(name: str, expected: bool) -> None:
    assert is_trades(name) is expected
