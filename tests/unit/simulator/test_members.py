"""The members' balances and orders, as they follow from what happens in the market."""

from __future__ import annotations

import itertools
from typing import Any

from peatio_ws.simulator.matching import Market, SimulatedOrder
from peatio_ws.simulator.members import KEPT_ORDERS, KEPT_TRADES, OPENING_FUNDS, OPENING_LOTS, Balance, Members

NOW = 1_700_000_000.0


class Scene:
    """A market, and members who learn from it."""

    def __init__(self) -> None:
        self.market, self.members, self.last = Market(itertools.count(1)), Members(), 0

    def place(self, owner: str | None, side: Any, price: int | None, volume: int) -> int:
        self.last += 1
        order = SimulatedOrder(self.last, owner, side, price, volume, volume, NOW)
        for happening in self.market.place(order):
            self.members.take(happening, NOW + self.last)
        return self.last

    def cancel(self, number: int) -> None:
        for happening in self.market.cancel(number):
            self.members.take(happening, NOW)


def test_waiting_orders_lock_what_they_may_cost() -> None:
    scene = Scene()
    number = scene.place("IDANN", "sell", 100, 7)
    scene.place("IDANN", "buy", 90, 3)
    assert scene.members.base("IDANN") == Balance(OPENING_LOTS - 7, 7)
    assert scene.members.quote("IDANN") == Balance(OPENING_FUNDS - 270, 270)
    scene.cancel(number)
    assert scene.members.base("IDANN") == Balance(OPENING_LOTS, 0)
    assert scene.members.base("IDBOB") == Balance(OPENING_LOTS, 0)


def test_a_trade_moves_both_currencies_at_its_price() -> None:
    scene = Scene()
    scene.place("IDANN", "sell", 100, 7)
    scene.place("IDBOB", "buy", 105, 10)
    assert scene.members.base("IDANN") == Balance(OPENING_LOTS - 7, 0)
    assert scene.members.quote("IDANN") == Balance(OPENING_FUNDS + 700, 0)
    assert scene.members.base("IDBOB") == Balance(OPENING_LOTS + 7, 0)
    assert scene.members.quote("IDBOB") == Balance(OPENING_FUNDS - 700 - 315, 315), "the rest waits at its limit"


def test_the_crowd_has_no_balances() -> None:
    scene = Scene()
    scene.place(None, "sell", 100, 7)
    scene.place("IDANN", "buy", None, 7)
    assert scene.members.base("IDANN") == Balance(OPENING_LOTS + 7, 0)
    assert scene.members.quote("IDANN") == Balance(OPENING_FUNDS - 700, 0)


def test_the_order_that_changed_last_comes_first() -> None:
    scene = Scene()
    first, second = scene.place("IDANN", "sell", 100, 7), scene.place("IDANN", "sell", 101, 7)
    scene.place("IDBOB", "buy", 100, 2)
    shown = scene.members.orders("IDANN")
    assert [(one.order.id, one.order.volume, one.updated) for one in shown] == [
        (first, 5, NOW + 3),
        (second, 7, NOW + 2),
    ]
    assert scene.members.waiting("IDANN") == [one.order for one in shown]
    assert scene.members.orders("IDNOBODY") == []


def test_old_orders_are_forgotten_and_waiting_ones_are_not() -> None:
    scene = Scene()
    waiting = scene.place("IDANN", "sell", 1_000, 1)
    for _ in range(2 * KEPT_ORDERS):
        scene.cancel(scene.place("IDANN", "sell", 2_000, 1))
    kept = [one.order.id for one in scene.members.orders("IDANN")]
    assert len(kept) == KEPT_ORDERS
    assert kept == [*range(scene.last, scene.last - KEPT_ORDERS + 1, -1), waiting]


def test_the_latest_trades_are_kept_with_the_order_of_the_member() -> None:
    scene = Scene()
    first = scene.place("IDANN", "sell", 100, 7)
    scene.place(None, "buy", 100, 2)
    second = scene.place("IDBOB", "buy", 100, 1)
    shown = scene.members.trades("IDANN")
    assert [(one.trade.id, one.trade.volume, one.order.id, one.created) for one in shown] == [
        (2, 1, first, NOW + 3),
        (1, 2, first, NOW + 2),
    ]
    assert [(one.trade.id, one.order.id) for one in scene.members.trades("IDBOB")] == [(2, second)]
    assert scene.members.trades("IDNOBODY") == []
    for _ in range(KEPT_TRADES):
        scene.place("IDBOB", "sell", 90, 1)
        scene.place("IDANN", "buy", 90, 1)
    assert [one.trade.id for one in scene.members.trades("IDBOB")] == list(range(KEPT_TRADES + 2, 2, -1))
