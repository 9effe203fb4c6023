"""How events look to a classic and to a ranger client, to the letter."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peatio_ws.protocol import encoding
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.event_kinds import Order, Trade
from tests.unit.samples import on_orderbook, on_ranger, on_trade

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
TRADE_FIELDS = ["id", "price", "volume", "funds", "market_id", "created_at", "side", "order_id"]


def order(body: Any) -> Order:
    event = read(on_orderbook(body, uid="A"))
    assert isinstance(event, Order)
    return event


def trade(body: dict[str, Any]) -> Trade:
    event = read(on_trade({"id": 1, **body}, ask_uid="A"))
    assert isinstance(event, Trade)
    return event


def private(name: str, body: dict[str, Any]) -> Any:
    return read(on_ranger(f"private.A.{name}", body))


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# ---- replies


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (encoding.AUTHENTICATED, '{"success":{"message":"Authenticated."}}'),
        (encoding.AUTHENTICATION_FAILED, '{"error":{"message":"Authentication failed."}}'),
        (encoding.NO_BEARER, '{"error":{"message":"Token type is not provided or invalid."}}'),
        (encoding.NOT_UNDERSTOOD, '{"error":{"message":"Error while handling message."}}'),
        (encoding.TOKEN_EXPIRED, '{"error":{"message":"Token expired."}}'),
        (encoding.challenge("a-b_c"), '{"challenge":"a-b_c"}'),
    ],
)
def test_a_reply_is_the_documented_text(reply: bytes, text: str) -> None:
    assert reply.decode() == text


# ---- a classic order


def test_a_whole_order_goes_as_it_came() -> None:
    assert encoding.orderbook(encoding.classic_order(order(WHOLE))) == compact({"orderbook": WHOLE})


def test_fields_that_were_not_given_are_null_and_in_their_place() -> None:
    shown = json.loads(encoding.classic_order(order({"id": 7})))
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
def test_volumes_come_last_and_only_where_they_are_known(more: dict[str, str], volumes: dict[str, str]) -> None:
    assert encoding.classic_order(order(WHOLE | more)) == compact(WHOLE | volumes)


def test_an_order_tells_nothing_else() -> None:
    private_fields = {"member_id": 5, "uid": "A", "email": "a@b.example", "fee": "0.1", "updated_at": 5, "bid": "usd"}
    assert encoding.classic_order(order(WHOLE | private_fields)) == compact(WHOLE)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=5), max_size=5))
@example({"order": 0})
@example({"order": None})
def test_whatever_else_the_publisher_adds_stays_here(more: dict[str, Any]) -> None:
    known = {*ALWAYS, "remaining_volume", "executed_volume"}
    shown = json.loads(encoding.classic_order(order({**more, **WHOLE})))
    assert set(shown) <= known


NUMBERS = ["0", "-0", "1000.0", "0.10", "1e5", "1.0E-8", "18446744073709551616", "0." + "1" * 40, '"0.10"', '"1000.0"']


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_pass_digit_for_digit(number: str) -> None:
    body = f'{{"id":{number},"price":{number},"avg_price":{number},"origin_volume":{number},"uid":"A"}}'.encode()
    shown = encoding.classic_order(order(body)).decode()
    for name in ("id", "price", "avg_price", "origin_volume"):
        assert f'"{name}":{number},' in shown
    event = trade({"id": 1})
    body = f'{{"id":{number},"price":{number},"volume":{number},"funds":{number},"ask_uid":"A"}}'.encode()
    event = read(on_trade(body))
    assert isinstance(event, Trade)
    shown = encoding.classic_trade(event, "ask", number.encode(), None, None).decode()
    assert shown.startswith(f'{{"id":{number},"price":{number},"volume":{number},"funds":{number},')
    assert shown.endswith(f'"order_id":{number}}}')


def test_a_ranger_order_comes_in_the_classic_form() -> None:
    body = {"id": 71, "market": "btcusd", "kind": "ask", "side": "sell", "ord_type": "limit", "price": "9.5"}
    body |= {"avg_price": "0.0", "state": "wait", "origin_volume": "2.0", "remaining_volume": "2.0"}
    body |= {"executed_volume": "0.0", "at": 1542000000, "created_at": 1542000000, "trades_count": 0}
    assert encoding.classic_order(private("order", body)) == compact(
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


# ---- a classic trade


@pytest.mark.parametrize(
    ("side", "ask", "bid"),
    [("ask", b'{"id":1}', None), ("bid", None, b'{"id":2}'), ("both", b'{"id":1}', b'{"id":2}')],
)
def test_a_trade_shows_the_receivers_own_orders(side: str, ask: bytes | None, bid: bytes | None) -> None:
    given_fields = {
        "price": "9.5",
        "volume": "1",
        "funds": "9.5",
        "market_id": "m",
        "created_at": "2018-08-01T10:00:01Z",
    }
    whole = {"id": 1, **given_fields, "side": side, "order_id": 5}
    whole |= {name: json.loads(own) for name, own in (("ask", ask), ("bid", bid)) if own}
    shown = encoding.trade(encoding.classic_trade(trade(given_fields), side, b"5", ask, bid))
    assert shown == compact({"trade": whole})


def test_a_trade_tells_nothing_of_the_other_party() -> None:
    body = {"bid_id": 32, "bid_member_id": 7, "bid_uid": "B", "bid": {"id": 32, "email": "b@b"}, "trend": "up"}
    shown = json.loads(encoding.classic_trade(trade(body), "ask", b"31", b'{"id":31}', None))
    assert list(shown) == [*TRADE_FIELDS, "ask"]


def test_amount_is_the_volume_and_total_the_funds() -> None:
    body = {"id": 1, "price": "9.5", "amount": "1.0", "total": "9.50", "market": "btcusd", "created_at": 1542000060}
    shown = json.loads(encoding.classic_trade(private("trade", body), "ask", b"5", None, None))
    assert shown["volume"] == "1.0"
    assert shown["funds"] == "9.50"
    assert shown["market_id"] == "btcusd"
    assert shown["created_at"] == "2018-11-12T05:21:00Z"


def test_an_order_of_which_nothing_is_known_has_an_id() -> None:
    assert encoding.order_stub(b"61") == b'{"id":61}'


# ---- moments


@given(st.integers(-(10**10), 10**11))
def test_unix_seconds_become_iso_8601_and_back(seconds: int) -> None:
    shown = encoding.classic_order(order({"id": 1, "created_at": seconds, "updated_at": "x"}))
    text = json.loads(shown)["created_at"]
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)
    assert text.endswith("Z")
    again = json.loads(encoding.ranger_order(order({"id": 1, "created_at": text})))
    assert again["created_at"] == again["at"] == seconds


def test_a_fraction_of_a_second_is_kept_to_the_millisecond() -> None:
    assert json.loads(encoding.classic_order(order({"id": 1, "at": 1542000000.25})))["created_at"] == (
        "2018-11-12T05:20:00.250Z"
    )


@pytest.mark.parametrize("moment", ["2018-08-01T10:00:00Z", "2018-08-01 10:00:00 UTC", "yesterday", "", None, True])
def test_a_moment_that_is_text_already_goes_as_it_came(moment: Any) -> None:
    assert json.loads(encoding.classic_order(order({"id": 1, "created_at": moment})))["created_at"] == moment


@pytest.mark.parametrize("moment", [b"1e300", b"-1e300", b"1e999", b"9" * 400, b"-0.0", b"253402300800"])
def test_a_moment_beyond_the_calendar_still_makes_json(moment: bytes) -> None:
    found = order(b'{"id":1,"created_at":%b}' % moment)
    assert b'"created_at":' in encoding.classic_order(found)
    json.loads(encoding.classic_order(found))
    json.loads(encoding.ranger_order(found))


@given(st.text(max_size=30) | st.datetimes().map(str) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:+]{5,14}Z?"))
def test_any_moment_makes_json_for_either_dialect(moment: str) -> None:
    found = order({"id": 1, "created_at": moment, "updated_at": moment})
    assert json.loads(encoding.classic_order(found))["created_at"] == moment
    json.loads(encoding.ranger_order(found))


# ---- ranger


def test_an_order_of_the_classic_exchange_has_peatios_later_names() -> None:
    body = WHOLE | {"volume": "0.5", "trades_count": 1, "updated_at": "2018-08-01T10:00:02Z"}
    assert json.loads(encoding.ranger_order(order(body))) == {
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


def test_a_trade_of_the_classic_exchange_has_peatios_later_names() -> None:
    body = {"price": "9.5", "volume": "1.0", "funds": "9.5", "market_id": "m", "created_at": "2018-08-01T10:00:01Z"}
    shown = {"id": 1, "price": "9.5", "amount": "1.0", "total": "9.5", "market": "m", "taker_type": None}
    shown |= {"created_at": 1533117601, "order_id": 5}
    for side, later in (("ask", "sell"), ("bid", "buy"), ("both", "sell")):
        assert json.loads(encoding.ranger_trade(trade(body), side, b"5")) == shown | {"side": later}


@pytest.mark.parametrize("name", ["order", "trade"])
def test_a_ranger_event_reaches_ranger_byte_for_byte(name: str) -> None:
    body = b'{ "id":1.0 ,"unknown":[1e5]}'
    event: Any = read(on_ranger(f"private.A.{name}", body))
    shown = encoding.ranger_order(event) if name == "order" else encoding.ranger_trade(event, "ask", b"1")
    assert shown == body


@given(st.text(min_size=1))
def test_a_stream_event_is_its_body_under_its_name(stream: str) -> None:
    frame = encoding.stream_event(stream, b'{ "n":1000.0}')
    assert frame.endswith(b':{ "n":1000.0}}')
    assert json.loads(frame) == {stream: {"n": 1000.0}}


# ---- whatever comes

FIELDS = [*ALWAYS, *TRADE_FIELDS, "volume", "amount", "total", "kind", "type", "market", "at", "remaining_volume"]
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_event_is_a_json_object_for_either_dialect(body: dict[str, Any]) -> None:
    found, event = order({**body, "id": 1}), trade({**body, "id": 1})
    for shown in (
        encoding.classic_order(found),
        encoding.ranger_order(found),
        encoding.classic_trade(event, "both", b"1", b"{}", b"{}"),
        encoding.ranger_trade(event, "bid", b"1"),
    ):
        assert isinstance(json.loads(shown), dict)
        assert b"\n" not in shown


@pytest.mark.parametrize("text", ["no such order", 'a "quote"', "half a pair: \ud800"])
def test_a_handlers_error_is_in_the_clients_dialect(text: str) -> None:
    sent = text.replace("\ud800", "?")
    assert json.loads(encoding.error(Dialect.CLASSIC, text)) == {"error": {"message": sent}}
    assert json.loads(encoding.error(Dialect.RANGER, text)) == {"error": sent}


def test_a_handlers_failure_is_told_without_a_reason() -> None:
    assert encoding.failed(Dialect.CLASSIC) == b'{"error":{"message":"Error while handling message."}}'
    assert encoding.failed(Dialect.RANGER) == b'{"error":"Error while handling message"}'
