"""The simulated exchange: its figures add up, and the package reads them as any other Peatio's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws import dialects
from peatio_ws.events import ORDERBOOK, TRADE, Delivery, Order, StreamEvent, Trade, read
from peatio_ws.simulation import (
    FIRST_PRICE,
    LEVELS,
    MEMBER_ID,
    ORDER_STEPS,
    OTHER_ID,
    REACH,
    SIDES,
    SNAPSHOT_STEPS,
    STEP_SECONDS,
    Message,
    Simulation,
    text_of,
    ticks_of,
)

BEGIN = 1_700_000_000.5
seeds = given(st.integers(0, 2**32))


def messages(seed: int, steps: int) -> list[Message]:
    simulation = Simulation(seed, BEGIN)
    return [message for step in range(steps) for message in simulation.step(BEGIN + step * STEP_SECONDS)]


def classic(seed: int, happenings: int) -> list[Message]:
    """What a member gets: orders and trades."""
    return [message for message in messages(seed, happenings * ORDER_STEPS) if message.exchange in (ORDERBOOK, TRADE)]


def public(seed: int, steps: int, name: str) -> list[Any]:
    return [message.body for message in messages(seed, steps) if message.routing_key == f"public.{name}"]


# ---- the member's orders and trades


@seeds
@settings(max_examples=30)
def test_the_volumes_of_an_order_add_up_with_its_trades(seed: int) -> None:
    traded: dict[int, list[Decimal]] = {}
    states: dict[int, dict[str, Any]] = {}
    for exchange, _, _, body in classic(seed, 60):
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


@seeds
@settings(max_examples=30)
def test_one_order_is_open_at_a_time_and_no_id_comes_twice(seed: int) -> None:
    open_one, orders, trades = None, set(), set()
    for exchange, _, _, body in classic(seed, 60):
        if exchange == TRADE:
            assert body["id"] not in trades | orders
            trades.add(body["id"])
        elif body["order"]["id"] != open_one:
            assert open_one is None
            assert body["order"]["id"] not in trades | orders
            orders.add(open_one := body["order"]["id"])
        if exchange == ORDERBOOK and body["order"]["state"] == "done":
            open_one = None


# ---- the book


class Replica:
    """A book as a client keeps it: from a snapshot and what came after it."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.sequence: int = snapshot["sequence"]
        self.levels = {side: dict(snapshot[side]) for side in SIDES}
        for side, direction in SIDES.items():
            prices = [Decimal(price) * direction for price, _ in snapshot[side]]
            assert prices == sorted(set(prices))

    def apply(self, change: dict[str, Any]) -> None:
        assert change["sequence"] == self.sequence + 1
        self.sequence += 1
        ((side, (price, volume)),) = [(key, value) for key, value in change.items() if key != "sequence"]
        if Decimal(volume):
            self.levels[side][price] = volume
        else:
            del self.levels[side][price]

    @property
    def crossed(self) -> bool:
        asks, bids = ([Decimal(price) for price in self.levels[side]] for side in ("asks", "bids"))
        return min(asks, default=Decimal("inf")) <= max(bids, default=Decimal("-inf"))


def replicas(seed: int, steps: int) -> Iterator[tuple[Simulation, Replica]]:
    """The simulation and a client's book after each step; all that came between is checked."""
    simulation, replica = Simulation(seed, BEGIN), None
    for step in range(steps):
        for message in simulation.step(BEGIN + step * STEP_SECONDS):
            if message.routing_key == "public.btcusd.ob-snap":
                fresh = Replica(message.body)
                assert replica is None or (replica.levels, replica.sequence) == (fresh.levels, fresh.sequence)
                replica = replica or fresh
            elif message.routing_key == "public.btcusd.ob-inc":
                assert replica is not None, "a change before there is a book"
                replica.apply(message.body)
            assert replica is not None
            assert not replica.crossed
        assert replica is not None
        yield simulation, replica


@seeds
@settings(max_examples=20)
def test_a_book_kept_from_the_first_snapshot_on_is_the_simulations_own_and_never_crossed(seed: int) -> None:
    for simulation, replica in replicas(seed, 2 * SNAPSHOT_STEPS + 2):
        own = Replica(simulation.book.snapshot())
        assert (own.levels, own.sequence) == (replica.levels, replica.sequence)
        assert [len(levels) for levels in own.levels.values()] == [LEVELS, LEVELS]


def test_the_price_does_not_run_away() -> None:
    simulation = Simulation(1, BEGIN)
    for step in range(10_000):
        simulation.step(BEGIN + step * STEP_SECONDS)
        assert abs(ticks_of(simulation.book.snapshot()["asks"][0][0]) - FIRST_PRICE) < FIRST_PRICE / 10


@pytest.mark.parametrize("jump", [-5000, -REACH, -1, 0, 1, REACH, 5000])
def test_a_book_follows_a_price_that_jumps(jump: int) -> None:
    book = Simulation(1, BEGIN).book
    replica = Replica(book.snapshot())
    for change in book.move(FIRST_PRICE + jump):
        replica.apply(change)
        assert not replica.crossed
    assert replica.levels == Replica(book.snapshot()).levels
    for side, direction in SIDES.items():
        assert all(0 < (ticks_of(price) - FIRST_PRICE - jump) * direction <= REACH for price in replica.levels[side])


def test_a_snapshot_comes_first_and_then_every_minute() -> None:
    at = [number for number, message in enumerate(messages(1, 1)) if message.routing_key.endswith("ob-snap")]
    assert at == [0]
    assert len(public(1, 10 * SNAPSHOT_STEPS, "btcusd.ob-snap")) == 10
    assert SNAPSHOT_STEPS * STEP_SECONDS == 60


@seeds
@settings(max_examples=20)
def test_the_book_is_lively(seed: int) -> None:
    a_minute = public(seed, SNAPSHOT_STEPS, "btcusd.ob-inc")
    assert 2 * 60 <= len(a_minute) <= 20 * 60


# ---- what the trades come to


@seeds
@settings(max_examples=20)
def test_public_trades_candles_and_tickers_tell_of_the_same_trades(seed: int) -> None:
    volume, funds, minutes, prices = Decimal(0), Decimal(0), dict[int, list[float]](), [text_of(FIRST_PRICE)]
    trade: dict[str, Any] = {}
    for exchange, key, _, body in messages(seed, 2 * SNAPSHOT_STEPS):
        if exchange == TRADE:
            trade = body
            prices.append(trade["price"])
            volume, funds = volume + Decimal(trade["volume"]), funds + Decimal(trade["funds"])
        elif key == "public.btcusd.trades":
            (row,) = body["trades"]
            assert (row["tid"], row["price"], row["amount"]) == (trade["id"], trade["price"], trade["volume"])
            assert row["taker_type"] in ("buy", "sell")
            minutes.setdefault(row["date"] // 60 * 60, []).append(float(row["price"]))
        elif key == "public.btcusd.kline-1m":
            traded = minutes[body[0]]
            assert body[1:5] == [traded[0], max(traded), min(traded), traded[-1]]
            assert body[5] > 0
        elif key == "public.global.tickers":
            ticker = body["btcusd"]
            assert (Decimal(ticker["amount"]), Decimal(ticker["volume"])) == (volume, funds)
            assert (ticker["open"], ticker["last"]) == (prices[0], prices[-1])
            assert (ticker["low"], ticker["high"]) == (min(prices, key=Decimal), max(prices, key=Decimal))
            assert not volume or abs(Decimal(ticker["avg_price"]) - funds / volume) < Decimal("0.01")
            assert ticker["price_change_percent"][0] in "+-"
            assert ticker["price_change_percent"] != "-0.00%"
    assert len(minutes) >= 2


@seeds
@settings(max_examples=20)
def test_a_trade_is_near_the_book(seed: int) -> None:
    simulation = Simulation(seed, BEGIN)
    for step in range(SNAPSHOT_STEPS):
        for message in simulation.step(BEGIN + step * STEP_SECONDS):
            if message.exchange == TRADE:
                book = simulation.book.snapshot()
                for side in SIDES:
                    assert abs(ticks_of(book[side][0][0]) - ticks_of(message.body["price"])) < REACH


# ---- all of it


@seeds
@settings(max_examples=20)
def test_the_package_reads_it_as_any_other_peatios(seed: int) -> None:
    for exchange, routing_key, headers, body in messages(seed, 120):
        event = read(Delivery(exchange, routing_key, headers, json.dumps(body).encode()))
        if isinstance(event, Trade):
            assert {party.owner for party in event.parties} == {MEMBER_ID, OTHER_ID}
        elif isinstance(event, Order):
            shown = json.loads(dialects.classic_order(event))
            assert None not in shown.values()
            whole = Decimal(shown["remaining_volume"]) + Decimal(shown["executed_volume"])
            assert whole == Decimal(shown["origin_volume"])
        else:
            assert isinstance(event, StreamEvent)
            assert event.stream in routing_key
            assert event.owner is None


@seeds
@settings(max_examples=20)
def test_the_same_seed_is_the_same_market(seed: int) -> None:
    assert messages(seed, 60) == messages(seed, 60)
