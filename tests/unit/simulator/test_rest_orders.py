"""Requests that place and cancel orders of the simulated exchange are answered as Peatio does."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.simulator.exchange import SimulatedExchange
from peatio_ws.simulator.rest_body import RequestRefused
from peatio_ws.simulator.rest_orders import answer, is_order_request
from tests.support.asyncapi import body

SELL = {"market": "btcusd", "side": "sell", "price": "20000", "volume": "0.5"}
BUY = {**SELL, "side": "buy", "price": "100"}


@pytest.fixture
def exchange() -> SimulatedExchange:
    return SimulatedExchange()


def row(exchange: SimulatedExchange, path: str, fields: dict[str, Any] | None = None, uid: str = "IDANN") -> Any:
    """Return the answer, an order."""
    found = answer(exchange, uid, path, fields or {})
    body("RestOrder").validate(found)
    return found


def states(exchange: SimulatedExchange) -> list[str]:
    return [one.order.state for one in exchange.orders("IDANN")]


def refusal(exchange: SimulatedExchange, path: str, fields: dict[str, Any] | None = None) -> tuple[str, str]:
    with pytest.raises(RequestRefused) as refused:
        answer(exchange, "IDANN", path, fields or {})
    return refused.value.status, str(refused.value)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("orders", True),
        ("orders/cancel", True),
        ("orders/5/cancel", True),
        ("orders/5", False),
        ("orders/5/6/cancel", False),
        ("trades", False),
    ],
)
def test_paths_of_order_requests(path: str, is_one: bool) -> None:
    assert is_order_request(path) is is_one


def test_a_new_order_is_pending_and_then_in_the_book(exchange: SimulatedExchange) -> None:
    placed = row(exchange, "orders", SELL)
    (kept,) = exchange.orders("IDANN")
    assert (placed["state"], placed["id"]) == ("pending", kept.order.id)
    assert [placed[name] for name in ("price", "origin_volume", "remaining_volume")] == ["20000.0", "0.5", "0.5"]
    assert kept.order.state == "wait"


def test_a_market_order_is_answered_before_it_is_filled(exchange: SimulatedExchange) -> None:
    placed = row(exchange, "orders", {"market": "btcusd", "side": "buy", "ord_type": "market", "volume": "0.5"})
    assert [placed[name] for name in ("state", "price", "executed_volume", "trades_count", "avg_price")] == [
        "pending",
        None,
        "0.0",
        0,
        "0.0",
    ]
    assert states(exchange) == ["done"]


def test_an_invalid_order_is_refused_with_peatios_code(exchange: SimulatedExchange) -> None:
    wrong = {**SELL, "side": "ask"}
    assert refusal(exchange, "orders", wrong) == ("422 Unprocessable Entity", "market.order.invalid_side")
    poor = {**SELL, "volume": "1000"}
    for _ in range(10):
        row(exchange, "orders", poor)
    assert refusal(exchange, "orders", poor) == ("422 Unprocessable Entity", "market.account.insufficient_balance")
    for _ in range(40):
        row(exchange, "orders", BUY)
    assert refusal(exchange, "orders", BUY) == ("422 Unprocessable Entity", "market.order.create_error")


def test_a_cancelled_order_is_answered_as_it_was(exchange: SimulatedExchange) -> None:
    path = f"orders/{row(exchange, 'orders', SELL)['id']}/cancel"
    assert row(exchange, path)["state"] == "wait"
    assert states(exchange) == ["cancel"]
    assert row(exchange, path)["state"] == "cancel", "as in Peatio, it may be cancelled twice"


@pytest.mark.parametrize("name", ["1", "9" * 19, "6f1f6a8e-5f0c-4d5a-9f4e-2f8d3f0b7a11"])
def test_an_unknown_order_is_not_found(name: str, exchange: SimulatedExchange) -> None:
    assert refusal(exchange, f"orders/{name}/cancel") == ("404 Not Found", "record.not_found")


@pytest.mark.parametrize("name", ["first", "-1", "٣", "9" * 20])
def test_what_is_no_id_of_an_order_is_refused(name: str, exchange: SimulatedExchange) -> None:
    refused = ("422 Unprocessable Entity", "market.order.invaild_id_or_uuid")
    assert refusal(exchange, f"orders/{name}/cancel") == refused


def test_an_order_of_another_member_is_not_found(exchange: SimulatedExchange) -> None:
    number = row(exchange, "orders", SELL, uid="IDBOB")["id"]
    assert refusal(exchange, f"orders/{number}/cancel") == ("404 Not Found", "record.not_found")


@pytest.mark.parametrize(
    ("fields", "left"), [({}, []), ({"market": "btcusd", "side": "buy"}, ["sell"]), ({"side": "sell"}, ["buy"])]
)
def test_a_member_cancels_all_orders_or_those_of_a_side(
    fields: dict[str, Any], left: list[str], exchange: SimulatedExchange
) -> None:
    for wanted in (SELL, BUY):
        row(exchange, "orders", wanted)
    row(exchange, "orders", SELL, uid="IDBOB")
    cancelled = answer(exchange, "IDANN", "orders/cancel", fields)
    assert isinstance(cancelled, list)
    assert sorted([*left, *(one["side"] for one in cancelled)]) == ["buy", "sell"]
    assert {one["state"] for one in cancelled} == {"wait"}
    assert [one.order.side for one in exchange.orders("IDANN") if one.order.state == "wait"] == left
    assert [one.order.state for one in exchange.orders("IDBOB")] == ["wait"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"market": "ethusd"}, "market.market.doesnt_exist"), ({"side": "ask"}, "market.order.invalid_side")],
)
def test_a_wrong_selection_cancels_nothing(fields: dict[str, Any], code: str, exchange: SimulatedExchange) -> None:
    row(exchange, "orders", SELL)
    assert refusal(exchange, "orders/cancel", fields) == ("422 Unprocessable Entity", code)
    assert states(exchange) == ["wait"]
