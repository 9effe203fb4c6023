"""Member ids in claims."""

from __future__ import annotations

from typing import Any

import pytest
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.identity import MOST_UID_BYTES, Identity, is_text, is_uid, member_id_of
from peatio_ws.auth.verifier import Verifier
from peatio_ws.errors import AuthenticationError
from tests.unit.samples import NOW, claims, settings, sign


def verify(token: str, now: float = NOW, **environ: str) -> Identity:
    return Verifier(settings(**environ).token_rules).verify(token, now)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1001, 1001),
        ("1001", 1001),
        ("0042", 42),
        (2**63, 2**63),
        ("ID1", None),
        ("", None),
        ("10 01", None),
        ("-5", None),
        ("1.0", None),
        ("٤٢", None),
        (None, None),
        (True, None),
        (1.5, None),
        ([1001], None),
        ({"id": 1001}, None),
    ],
)
def test_a_member_id_is_a_number_or_a_text_of_digits(value: Any, number: int | None) -> None:
    assert member_id_of(value) == number
    assert verify(sign(claims(member_id=value))).member_id == number
    assert verify(sign(claims(mid=value, member_id=7)), JWT_MEMBER_ID_CLAIM="mid").member_id == number


@given(st.integers(0, 2**64))
def test_member_ids_as_number_and_as_text_are_equal(number: int) -> None:
    assert member_id_of(number) == member_id_of(str(number)) == number


@pytest.mark.parametrize(
    ("value", "valid"),
    [("ID1", True), ("ann@example.com", True), ("\U0001f600", True), (" ", False), (7, False), ("ID\ud83d", False)],
)
def test_a_uid_is_a_text_that_redis_can_store(value: object, valid: bool) -> None:
    assert is_text(value) is is_uid(value) is valid


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
def test_a_uid_has_room_in_a_routing_key(letter: str) -> None:
    length = len(letter.encode())
    longest = letter * (MOST_UID_BYTES // length)
    assert verify(sign(claims(uid=longest))).uid == longest
    dumps("s", (f"private.{longest}.#",))  # py-amqp raises struct.error for more than 255 bytes
    longer = longest + letter
    assert is_text(longer)
    assert not is_uid(longer)
    with pytest.raises(AuthenticationError, match="uid is longer than 245 bytes"):
        verify(sign(claims(uid=longer)))
