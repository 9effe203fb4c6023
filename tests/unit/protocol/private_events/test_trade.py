"""Trades: their texts for both protocols, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.private_events.trade import Trade, classic_trade, ranger_trade
from tests.unit.samples import on_ranger, on_trade

TRADE_FIELDS = ["id", "price", "volume", "funds", "market_id", "created_at", "side", "order_id"]
NUMBERS = ["0", "-0", "1000.0", "0.10", "1e5", "1.0E-8", "18446744073709551616", "0." + "1" * 40, '"0.10"', '"1000.0"']
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


def trade(body: dict[str, Any], **owners: str) -> Trade:
    event = read(on_trade({"id": 1, **body}, **(owners or {"ask_uid": "A"})))
    assert isinstance(event, Trade)
    return event


def from_ranger(body: dict[str, Any] | bytes) -> Trade:
    event = read(on_ranger("private.A.trade", body))
    assert isinstance(event, Trade)
    return event


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def recall(_number: bytes, _owner: object) -> None:
    """Behave as if no order had been seen."""


@pytest.mark.parametrize(
    ("side", "ask", "bid"),
    [("ask", b'{"id":1}', None), ("bid", None, b'{"id":2}'), ("both", b'{"id":1}', b'{"id":2}')],
)
def test_trade_contains_own_orders(side: str, ask: bytes | None, bid: bytes | None) -> None:
    given_fields = {
        "price": "9.5",
        "volume": "1",
        "funds": "9.5",
        "market_id": "m",
        "created_at": "2018-08-01T10:00:01Z",
    }
    whole = {"id": 1, **given_fields, "side": side, "order_id": 5}
    whole |= {name: json.loads(own) for name, own in (("ask", ask), ("bid", bid)) if own}
    shown = classic_trade(trade(given_fields), side, b"5", ask, bid)
    assert shown == compact(whole)


def test_trade_hides_the_counterparty() -> None:
    body = {"bid_id": 32, "bid_member_id": 7, "bid_uid": "B", "bid": {"id": 32, "email": "b@b"}, "trend": "up"}
    shown = json.loads(classic_trade(trade(body), "ask", b"31", b'{"id":31}', None))
    assert list(shown) == [*TRADE_FIELDS, "ask"]


def test_amount_is_the_volume_and_total_the_funds() -> None:
    body = {"id": 1, "price": "9.5", "amount": "1.0", "total": "9.50", "market": "btcusd", "created_at": 1542000060}
    shown = json.loads(classic_trade(from_ranger(body), "ask", b"5", None, None))
    assert shown["volume"] == "1.0"
    assert shown["funds"] == "9.50"
    assert shown["market_id"] == "btcusd"
    assert shown["created_at"] == "2018-11-12T05:21:00Z"


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(number: str) -> None:
    body = f'{{"id":{number},"price":{number},"volume":{number},"funds":{number},"ask_uid":"A"}}'.encode()
    event = read(on_trade(body))
    assert isinstance(event, Trade)
    shown = classic_trade(event, "ask", number.encode(), None, None).decode()
    assert shown.startswith(f'{{"id":{number},"price":{number},"volume":{number},"funds":{number},')
    assert shown.endswith(f'"order_id":{number}}}')


def test_trade_with_oneself_has_both_orders() -> None:
    event = trade({"ask_id": 31, "bid_id": 32}, ask_uid="A", bid_uid="A")
    shown = json.loads(event.encode(Dialect.CLASSIC, (0, 1), recall))["trade"]
    assert (shown["side"], shown["order_id"], shown["ask"], shown["bid"]) == ("both", 31, {"id": 31}, {"id": 32})


def test_own_order_is_recalled_by_its_id() -> None:
    event = trade({"ask_id": 31})
    shown = event.encode(
        Dialect.CLASSIC, (0,), lambda number, owner: b'{"id":%b,"of":"%b"}' % (number, str(owner).encode())
    )
    assert json.loads(shown)["trade"]["ask"] == {"id": 31, "of": "A"}


# ---- ranger


def test_classic_trade_gets_later_field_names_for_ranger() -> None:
    body = {"price": "9.5", "volume": "1.0", "funds": "9.5", "market_id": "m", "created_at": "2018-08-01T10:00:01Z"}
    shown = {"id": 1, "price": "9.5", "amount": "1.0", "total": "9.5", "market": "m", "taker_type": None}
    shown |= {"created_at": 1533117601, "order_id": 5}
    for side, later in (("ask", "sell"), ("bid", "buy"), ("both", "sell")):
        assert json.loads(ranger_trade(trade(body), side, b"5")) == shown | {"side": later}


def test_ranger_trade_reaches_ranger_byte_for_byte() -> None:
    body = b'{ "id":1.0 ,"unknown":[1e5]}'
    assert from_ranger(body).encode(Dialect.RANGER, (0,), recall) == b'{"trade":%b}' % body


@given(st.dictionaries(st.sampled_from([*TRADE_FIELDS, "amount", "total", "kind", "market", "at"]), VALUES))
def test_any_trade_is_a_json_object_in_both_protocols(body: dict[str, Any]) -> None:
    event = trade({**body, "id": 1})
    for dialect in Dialect:
        shown = event.encode(dialect, (0,), recall)
        assert isinstance(json.loads(shown), dict)
        assert b"\n" not in shown
