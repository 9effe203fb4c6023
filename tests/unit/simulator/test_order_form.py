"""Orders of clients of the simulated exchange: read completely, or refused with a text and a code."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.simulator.order_form import InvalidOrder, OrderForm, read_order

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
    ("changed", "why", "code"),
    [
        ({"market": None}, "market: the only market is btcusd", "market.order.missing_market"),
        ({"market": ["btcusd"]}, "market: the only market is btcusd", "market.market.doesnt_exist_or_not_enabled"),
        ({"side": None}, "side: use sell or buy", "market.order.missing_side"),
        ({"side": "ask"}, "side: use sell or buy", "market.order.invalid_side"),
        ({"side": {}}, "side: use sell or buy", "market.order.invalid_side"),
        ({"ord_type": "stop"}, "ord_type: use limit or market", "market.order.invalid_type"),
        ({"ord_type": "market"}, "price: a market order has none", "market.order.market_order_price"),
        ({"price": None}, "price: is missing", "market.order.missing_price"),
        ({"price": True}, "price: use a number, like 0.5", "market.order.non_decimal_price"),
        ({"price": "-1"}, "price: use a number, like 0.5", "market.order.non_positive_price"),
        ({"price": "1e3"}, "price: use a number, like 0.5", "market.order.non_decimal_price"),
        ({"price": "٣"}, "price: use a number, like 0.5", "market.order.non_decimal_price"),
        ({"price": "9" * 100}, "price: use a number, like 0.5", "market.order.non_decimal_price"),
        ({"price": float("nan")}, "price: use a number, like 0.5", "market.order.non_decimal_price"),
        ({"price": "0.0"}, "price: must be more than 0 and at most 1000000", "market.order.non_positive_price"),
        (
            {"price": "1000000.1"},
            "price: must be more than 0 and at most 1000000",
            "market.order.invalid_volume_or_price",
        ),
        ({"price": "9000.55"}, "price: must be a multiple of 0.1", "market.order.invalid_volume_or_price"),
        ({"volume": None}, "volume: is missing", "market.order.missing_volume"),
        ({"volume": []}, "volume: use a number, like 0.5", "market.order.non_decimal_volume"),
        ({"volume": "0.00005"}, "volume: must be a multiple of 0.0001", "market.order.invalid_volume_or_price"),
        (
            {"volume": "1000.0001"},
            "volume: must be more than 0 and at most 1000",
            "market.order.invalid_volume_or_price",
        ),
    ],
)
def test_invalid_order_is_refused_with_a_text_and_peatios_code(changed: dict[str, Any], why: str, code: str) -> None:
    with pytest.raises(InvalidOrder) as refused:
        read_order({**LIMIT, **changed})
    assert (str(refused.value), refused.value.peatio_code) == (why, code)
