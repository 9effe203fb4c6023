"""Orders of clients of the simulated exchange: read completely, or refused with a text."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.errors import ClientError
from peatio_ws.simulator.order_form import OrderForm, read_order

LIMIT = {"market": "btcusd", "side": "buy", "ord_type": "limit", "price": "9000.5", "volume": "0.25"}


def test_limit_order_is_read_in_ticks_and_lots() -> None:
    assert read_order(LIMIT) == OrderForm("buy", 90_005, 2_500)


def test_market_order_has_no_price() -> None:
    wanted = {"market": "btcusd", "side": "sell", "ord_type": "market", "volume": "0.25"}
    assert read_order(wanted) == OrderForm("sell", None, 2_500)


def test_numbers_may_be_numbers_and_ord_type_need_not_be_there() -> None:
    wanted = {"market": "btcusd", "side": "buy", "price": 9000.5, "volume": 2}
    assert read_order(wanted) == OrderForm("buy", 90_005, 20_000)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"market": None}, "market: the only market is btcusd"),
        ({"market": ["btcusd"]}, "market: the only market is btcusd"),
        ({"side": "ask"}, "side: use sell or buy"),
        ({"side": {}}, "side: use sell or buy"),
        ({"ord_type": "stop"}, "ord_type: use limit or market"),
        ({"ord_type": "market"}, "price: a market order has none"),
        ({"price": None}, "price: is missing"),
        ({"price": True}, "price: use a number, like 0.5"),
        ({"price": "-1"}, "price: use a number, like 0.5"),
        ({"price": "1e3"}, "price: use a number, like 0.5"),
        ({"price": "٣"}, "price: use a number, like 0.5"),
        ({"price": "9" * 100}, "price: use a number, like 0.5"),
        ({"price": float("nan")}, "price: use a number, like 0.5"),
        ({"price": "0.0"}, "price: must be more than 0 and at most 1000000"),
        ({"price": "1000000.1"}, "price: must be more than 0 and at most 1000000"),
        ({"price": "9000.55"}, "price: must be a multiple of 0.1"),
        ({"volume": None}, "volume: is missing"),
        ({"volume": []}, "volume: use a number, like 0.5"),
        ({"volume": "0.00005"}, "volume: must be a multiple of 0.0001"),
        ({"volume": "1000.0001"}, "volume: must be more than 0 and at most 1000"),
    ],
)
def test_invalid_order_is_refused_with_a_text(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ClientError) as refused:
        read_order({**LIMIT, **changed})
    assert str(refused.value) == why
