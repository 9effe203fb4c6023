"""The simulated exchange: its figures add up, and the package reads them as any other Peatio's."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws import dialects
from peatio_ws.embedded import MEMBER_ID, OTHER_ID, Simulation
from peatio_ws.events import ORDERBOOK, TRADE, Delivery, Order, Trade, read


def messages(seed: int, steps: int) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    simulation = Simulation(seed)
    return [message for _ in range(steps) for message in simulation.step()]


@given(st.integers(0, 2**32))
def test_the_volumes_of_an_order_add_up_with_its_trades(seed: int) -> None:
    traded: dict[int, list[Decimal]] = {}
    states: dict[int, dict[str, Any]] = {}
    for exchange, _, body in messages(seed, 60):
        if exchange == TRADE:
            (mine,) = [body[name] for name in ("ask_id", "bid_id") if body[name] in states]
            traded[mine].append(Decimal(body["volume"]))
            assert Decimal(body["funds"]) == Decimal(body["volume"]) * Decimal(body["price"])
            left = Decimal(states[mine]["origin_volume"]) - sum(traded[mine])
            assert Decimal(states[mine]["volume"]) == left
            assert states[mine]["trades_count"] == len(traded[mine])
        else:
            order = body["order"]
            traded.setdefault(order["id"], [])
            states[order["id"]] = order
            assert 0 <= Decimal(order["volume"]) <= Decimal(order["origin_volume"])
            assert (order["state"] == "done") is (Decimal(order["volume"]) == 0)
    done = [number for number, order in states.items() if order["state"] == "done"]
    assert done
    for number in done:
        assert sum(traded[number]) == Decimal(states[number]["origin_volume"])
        assert min(traded[number]) > 0


@given(st.integers(0, 2**32))
def test_one_order_is_open_at_a_time_and_no_id_comes_twice(seed: int) -> None:
    open_one, orders, trades = None, set(), set()
    for exchange, _, body in messages(seed, 60):
        if exchange == TRADE:
            assert body["id"] not in trades | orders
            trades.add(body["id"])
        elif body["order"]["id"] != open_one:
            assert open_one is None
            assert body["order"]["id"] not in trades | orders
            orders.add(open_one := body["order"]["id"])
        if exchange == ORDERBOOK and body["order"]["state"] == "done":
            open_one = None


@given(st.integers(0, 2**32))
def test_the_package_reads_it_as_any_other_peatios(seed: int) -> None:
    for exchange, headers, body in messages(seed, 20):
        event = read(Delivery(exchange, "", headers, json.dumps(body).encode()))
        if isinstance(event, Trade):
            assert {party.owner for party in event.parties} == {MEMBER_ID, OTHER_ID}
        else:
            assert isinstance(event, Order)
            shown = json.loads(dialects.classic_order(event))
            assert None not in shown.values()
            whole = Decimal(shown["remaining_volume"]) + Decimal(shown["executed_volume"])
            assert whole == Decimal(shown["origin_volume"])


@given(st.integers(0, 2**32))
def test_the_same_seed_is_the_same_market(seed: int) -> None:
    def shape(steps: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> list[Any]:
        return [(exchange, body.get("volume"), body.get("price")) for exchange, _, body in steps]

    assert shape(messages(seed, 10)) == shape(messages(seed, 10))
