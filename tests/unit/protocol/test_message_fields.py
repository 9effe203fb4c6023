"""Fields of Peatio's messages: their text is kept, their difference is exact, and owners are never confused."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.protocol.message_fields import (
    NULL,
    as_iso,
    as_unix,
    difference,
    is_blank,
    is_blank_header,
    may_name_owner,
    owner_in_body,
    owner_in_headers,
    scalar,
)

ABSENT = msgspec.Raw()
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


# ---- values


@pytest.mark.parametrize("text", [b"1.50", b'"1.50"', b"true", b'"a\\u00e9"', b"-0"])
def test_scalar_keeps_its_text(text: bytes) -> None:
    assert scalar(msgspec.Raw(text), raw("fallback")) == text


@pytest.mark.parametrize("value", [ABSENT, raw(None), raw([1]), raw({"a": 1})])
def test_fallback_replaces_other_values_than_scalars(value: msgspec.Raw) -> None:
    assert scalar(value) == NULL
    assert scalar(value, raw(7)) == b"7"
    assert scalar(value, value) == NULL


@pytest.mark.parametrize(("value", "blank"), [("", True), (" ", True), (None, True), ("0", False), (0, False)])
def test_null_and_empty_strings_are_blank(value: object, blank: bool) -> None:
    assert is_blank(raw(value)) is blank
    assert is_blank(ABSENT)
    assert is_blank_header(value) is blank


@given(DECIMALS, DECIMALS, st.booleans())
def test_difference_is_exact_and_quoted_like_its_operands(first: Decimal, second: Decimal, quoted: bool) -> None:
    text = f'"{first:f}"' if quoted else f"{first:f}"
    found = difference(text.encode(), f"{second:f}".encode())
    assert found.startswith(b'"') is quoted
    assert Fraction(found.strip(b'"').decode()) == Fraction(first) - Fraction(second)


@pytest.mark.parametrize("other", [b"null", b"true", b'"x"', b"1" * 65, b"1e999", b'""', b'"1 "'])
def test_difference_of_other_values_than_decimals_is_null(other: bytes) -> None:
    assert difference(b"1", other) == difference(other, b"1") == NULL


@pytest.mark.parametrize(
    ("unix", "iso"),
    [
        (b"0", b'"1970-01-01T00:00:00Z"'),
        (b"1700000000", b'"2023-11-14T22:13:20Z"'),
        (b"1700000000.5", b'"2023-11-14T22:13:20.500Z"'),
    ],
)
def test_unix_seconds_become_iso_8601(unix: bytes, iso: bytes) -> None:
    assert as_iso(unix) == iso
    assert as_unix(iso) == unix.partition(b".")[0]


@pytest.mark.parametrize("moment", [b'"2023-11-14"', b"null", b"true", b"1e999", b"9" * 30, b"-"])
def test_other_values_than_unix_seconds_are_not_converted(moment: bytes) -> None:
    assert as_iso(moment) == moment


@pytest.mark.parametrize("moment", [b"1700000000", b"null", b'"yesterday"', b'""', b'"\xff"'])
def test_other_values_than_iso_8601_are_not_converted(moment: bytes) -> None:
    assert as_unix(moment) == moment


def test_a_time_without_a_zone_is_utc() -> None:
    assert as_unix(b'"2023-11-14T22:13:20"') == as_unix(b'"2023-11-14T23:13:20+01:00"') == b"1700000000"


# ---- owners

UIDS: list[tuple[Any, Any]] = [("ID1", "ID1"), (" ID1 ", "ID1"), ("42", "42"), (42, "42")]
MEMBER_IDS: list[tuple[Any, Any]] = [(42, 42), ("42", 42), (0, 0), ("ID1", "ID1")]
UNREADABLE: list[Any] = [None, "", " ", True, [], {}, 1.5]


@pytest.mark.parametrize(("value", "owner"), UIDS)
def test_every_value_of_a_uid_field_is_a_uid(value: Any, owner: str) -> None:
    assert owner_in_headers({"uid": value}, "uid", "member_id") == owner
    assert owner_in_body(raw(value), ABSENT) == owner


@pytest.mark.parametrize(("value", "owner"), MEMBER_IDS)
def test_digits_in_a_member_id_field_are_a_member_id(value: Any, owner: Any) -> None:
    found = owner_in_headers({"member_id": value}, "uid", "member_id"), owner_in_body(ABSENT, raw(value))
    assert [(one, type(one)) for one in found] == [(owner, type(owner))] * 2


def test_uid_takes_precedence_over_the_member_id() -> None:
    assert owner_in_headers({"bid_uid": "A", "bid_member_id": 7}, "bid_uid", "bid_member_id") == "A"
    assert owner_in_body(raw("A"), raw(7)) == "A"
    assert owner_in_body(raw(""), raw(7)) == 7


@pytest.mark.parametrize("value", UNREADABLE)
def test_an_unreadable_field_names_no_owner(value: Any) -> None:
    assert owner_in_headers({"uid": value, "member_id": value}, "uid", "member_id") is None
    assert owner_in_body(raw(value), raw(value)) is None


def test_no_field_names_no_owner() -> None:
    assert owner_in_headers({}, "uid", "member_id") is None
    assert owner_in_headers({"bid_uid": "A"}, "ask_uid", "ask_member_id") is None
    assert owner_in_body(ABSENT, ABSENT) is None


@pytest.mark.parametrize("name", ["uid", "UID", "member", "owner_id", "Email"])
def test_any_filled_field_of_an_owner_may_name_one(name: str) -> None:
    for value in ("x", 0, {"uid": "x"}):
        assert may_name_owner({name: value}, b"{}", b"{}")
        assert may_name_owner({}, b'{"id":1}', json.dumps({name: value}).encode())
    for blank in (None, "", " "):
        body = json.dumps({name: blank}).encode()
        assert not may_name_owner({name: blank}, body, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":1,"uid":"ID1","uid":null}',
        b'{"id":1,"uid":"ID1","\\u0075id":""}',
        b'{"order":{"id":1,"member_id":7,"member_id":null}}',
        b'{"order":{"id":1,"uid":"ID1"},"order":null}',
    ],
)
def test_repeated_field_may_hide_an_owner(body: bytes) -> None:
    assert may_name_owner({}, body, b'{"id":1}')


def test_other_fields_name_no_owner() -> None:
    assert not may_name_owner(None, b"{}", b"{}")
    body = b'{"id":1,"uids":["A"]}'
    assert not may_name_owner({"x-uid": "A"}, body, body)
