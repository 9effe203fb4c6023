"""Orders: their texts for both protocols, to the letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.private_events.order import Order, classic_order, order_stub, ranger_order
from tests.unit.samples import on_orderbook, on_ranger

WHOLE = {
    "id": 12345678901234567,
    "side": "sell",
    "ord_type": "limit",
    "price": "9120.5",
    "avg_price": "0.0",
    "state": "wait",
    "market_id": "btcusd",
    "created_at": "2018-08-01T10:00:00Z",
    "origin_volume": "1.5",
    "trades_count": 0,
    "trades": [],
}
ALWAYS = list(WHOLE)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def order(body: Any) -> Order:
    event = read(on_orderbook(body, uid="A"))
    assert isinstance(event, Order)
    return event


def from_ranger(body: dict[str, Any]) -> Order:
    event = read(on_ranger("private.A.order", body))
    assert isinstance(event, Order)
    return event


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def recall(_number: bytes, _owner: object) -> None:
    """Behave as if no order had been seen."""


# ---- a classic order


def test_complete_order_keeps_every_value() -> None:
    assert order(WHOLE).encode(Dialect.CLASSIC, (), recall) == compact({"orderbook": WHOLE})


def test_missing_fields_are_null_and_in_order() -> None:
    shown = json.loads(classic_order(order({"id": 7})))
    assert list(shown) == ALWAYS
    assert shown == dict.fromkeys(ALWAYS) | {"id": 7, "trades": []}


@pytest.mark.parametrize(
    ("more", "volumes"),
    [
        ({"remaining_volume": "0.5"}, {"remaining_volume": "0.5", "executed_volume": "1.0"}),
        ({"volume": "0.5"}, {"remaining_volume": "0.5", "executed_volume": "1.0"}),
        ({"volume": "0.5", "executed_volume": "9"}, {"remaining_volume": "0.5", "executed_volume": "9"}),
        ({"executed_volume": "1.0"}, {"executed_volume": "1.0"}),
        ({"volume": "some"}, {"remaining_volume": "some"}),
        ({}, {}),
    ],
)
def test_known_volumes_come_last(more: dict[str, str], volumes: dict[str, str]) -> None:
    assert classic_order(order(WHOLE | more)) == compact(WHOLE | volumes)


def test_order_hides_private_fields() -> None:
    private_fields = {"member_id": 5, "uid": "A", "email": "a@b.example", "fee": "0.1", "updated_at": 5, "bid": "usd"}
    assert classic_order(order(WHOLE | private_fields)) == compact(WHOLE)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=5), max_size=5))
@example({"order": 0})
@example({"order": None})
def test_unknown_fields_are_not_sent(more: dict[str, Any]) -> None:
    known = {*ALWAYS, "remaining_volume", "executed_volume"}
    shown = json.loads(classic_order(order({**more, **WHOLE})))
    assert set(shown) <= known


NUMBERS = ["0", "-0", "1000.0", "0.10", "1e5", "1.0E-8", "18446744073709551616", "0." + "1" * 40, '"0.10"', '"1000.0"']


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(number: str) -> None:
    body = f'{{"id":{number},"price":{number},"avg_price":{number},"origin_volume":{number},"uid":"A"}}'.encode()
    shown = classic_order(order(body)).decode()
    for name in ("id", "price", "avg_price", "origin_volume"):
        assert f'"{name}":{number},' in shown


def test_ranger_order_has_a_classic_form() -> None:
    body = {"id": 71, "market": "btcusd", "kind": "ask", "side": "sell", "ord_type": "limit", "price": "9.5"}
    body |= {"avg_price": "0.0", "state": "wait", "origin_volume": "2.0", "remaining_volume": "2.0"}
    body |= {"executed_volume": "0.0", "at": 1542000000, "created_at": 1542000000, "trades_count": 0}
    assert classic_order(from_ranger(body)) == compact(
        {
            "id": 71,
            "side": "sell",
            "ord_type": "limit",
            "price": "9.5",
            "avg_price": "0.0",
            "state": "wait",
            "market_id": "btcusd",
            "created_at": "2018-11-12T05:20:00Z",
            "origin_volume": "2.0",
            "trades_count": 0,
            "trades": [],
            "remaining_volume": "2.0",
            "executed_volume": "0.0",
        }
    )


def test_unknown_order_has_only_an_id() -> None:
    assert order_stub(b"61") == b'{"id":61}'


# ---- times


@given(st.integers(-(10**10), 10**11))
def test_unix_seconds_become_iso_8601_and_back(seconds: int) -> None:
    shown = classic_order(order({"id": 1, "created_at": seconds, "updated_at": "x"}))
    text = json.loads(shown)["created_at"]
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)
    assert text.endswith("Z")
    again = json.loads(ranger_order(order({"id": 1, "created_at": text})))
    assert again["created_at"] == again["at"] == seconds


def test_fraction_of_a_second_is_kept_to_the_millisecond() -> None:
    assert json.loads(classic_order(order({"id": 1, "at": 1542000000.25})))["created_at"] == (
        "2018-11-12T05:20:00.250Z"
    )


@pytest.mark.parametrize("moment", ["2018-08-01T10:00:00Z", "2018-08-01 10:00:00 UTC", "yesterday", "", None, True])
def test_time_as_string_is_unchanged(moment: Any) -> None:
    assert json.loads(classic_order(order({"id": 1, "created_at": moment})))["created_at"] == moment


@pytest.mark.parametrize("moment", [b"1e300", b"-1e300", b"1e999", b"9" * 400, b"-0.0", b"253402300800"])
def test_time_beyond_the_calendar_is_valid_json(moment: bytes) -> None:
    found = order(b'{"id":1,"created_at":%b}' % moment)
    assert b'"created_at":' in classic_order(found)
    json.loads(classic_order(found))
    json.loads(ranger_order(found))


@given(st.text(max_size=30) | st.datetimes().map(str) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:+]{5,14}Z?"))
def test_any_time_is_valid_json_in_both_protocols(moment: str) -> None:
    found = order({"id": 1, "created_at": moment, "updated_at": moment})
    assert json.loads(classic_order(found))["created_at"] == moment
    json.loads(ranger_order(found))


# ---- ranger


def test_classic_order_gets_later_field_names_for_ranger() -> None:
    body = WHOLE | {"volume": "0.5", "trades_count": 1, "updated_at": "2018-08-01T10:00:02Z"}
    assert json.loads(ranger_order(order(body))) == {
        "id": 12345678901234567,
        "market": "btcusd",
        "kind": "ask",
        "side": "sell",
        "ord_type": "limit",
        "price": "9120.5",
        "avg_price": "0.0",
        "state": "wait",
        "origin_volume": "1.5",
        "remaining_volume": "0.5",
        "executed_volume": "1.0",
        "at": 1533117600,
        "created_at": 1533117600,
        "updated_at": 1533117602,
        "trades_count": 1,
    }


def test_ranger_order_reaches_ranger_byte_for_byte() -> None:
    body = b'{ "id":1.0 ,"unknown":[1e5]}'
    event = read(on_ranger("private.A.order", body))
    assert isinstance(event, Order)
    assert event.encode(Dialect.RANGER, (), recall) == b'{"order":%b}' % body


@given(
    st.dictionaries(st.sampled_from([*ALWAYS, "volume", "kind", "type", "market", "at", "remaining_volume"]), VALUES)
)
def test_any_order_is_a_json_object_in_both_protocols(body: dict[str, Any]) -> None:
    found = order({**body, "id": 1})
    for dialect in Dialect:
        shown = found.encode(dialect, (), recall)
        assert isinstance(json.loads(shown), dict)
        assert b"\n" not in shown
