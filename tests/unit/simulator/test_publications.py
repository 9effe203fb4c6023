"""Publications of the simulated exchange are read like those of any Peatio."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import TRADE, Delivery
from peatio_ws.protocol.private_events.member_event import MemberEvent
from peatio_ws.protocol.private_events.order import Order, classic_order
from peatio_ws.protocol.private_events.trade import Trade
from peatio_ws.protocol.public_events import PublicEvent
from peatio_ws.simulator.matching import SimulatedOrder, SimulatedTrade
from peatio_ws.simulator.members import Balance, MemberOrder, MemberTrade
from peatio_ws.simulator.publications import (
    CROWD,
    Publication,
    PublicTrade,
    balances,
    deposit_address,
    rest_order,
    rest_public_trade,
    rest_trade,
    text_of,
)
from peatio_ws.simulator.simulation import (
    FIRST_PRICE,
    KLINE_STEPS,
    MEMBER,
    SNAPSHOT_STEPS,
    STEP_SECONDS,
    Simulation,
)

BEGIN = 1_700_000_000.5
seeds = given(st.integers(0, 2**32))


def messages(seed: int, steps: int) -> list[Publication]:
    simulation = Simulation(seed, BEGIN)
    return [message for step in range(steps) for message in simulation.step(BEGIN + step * STEP_SECONDS)]


@seeds
@settings(max_examples=10)
def test_public_trades_candles_and_tickers_agree(seed: int) -> None:
    volume, funds, minutes, prices = Decimal(0), Decimal(0), dict[int, list[float]](), [text_of(FIRST_PRICE)]
    candles = 0
    private: dict[int, tuple[str, str]] = {}
    for exchange, key, _, body in messages(seed, 2 * SNAPSHOT_STEPS):
        if exchange == TRADE:
            private[body["id"]] = body["price"], body["volume"]
        elif key == "public.btcusd.trades":
            (row,) = body["trades"]
            assert private.pop(row["tid"], (row["price"], row["amount"])) == (row["price"], row["amount"])
            prices.append(row["price"])
            volume += Decimal(row["amount"])
            funds += Decimal(row["amount"]) * Decimal(row["price"])
            assert row["taker_type"] in ("buy", "sell")
            minutes.setdefault(row["date"] // 60 * 60, []).append(float(row["price"]))
        elif key == "public.btcusd.kline-1m":
            traded = minutes.get(body[0], [float(prices[-1])])
            assert body[1:5] == [traded[0], max(traded), min(traded), traded[-1]]
            assert (body[5] > 0) is (body[0] in minutes)
            candles += 1
        elif key == "public.btcusd.kline-1w":
            assert body[5] == float(volume)
        elif key == "public.global.tickers":
            ticker = body["btcusd"]
            assert (Decimal(ticker["amount"]), Decimal(ticker["volume"])) == (volume, funds)
            assert (ticker["open"], ticker["last"]) == (prices[0], prices[-1])
            assert (ticker["low"], ticker["high"]) == (min(prices, key=Decimal), max(prices, key=Decimal))
            assert not volume or abs(Decimal(ticker["avg_price"]) - funds / volume) < Decimal("0.01")
            assert ticker["price_change_percent"][0] in "+-"
            assert ticker["price_change_percent"] != "-0.00%"
    assert len(minutes) >= 2
    assert candles >= 2 * SNAPSHOT_STEPS / KLINE_STEPS - 5, "each two seconds, once there was a trade"
    assert not private, "trades without a public message"


@seeds
@settings(max_examples=20)
def test_the_package_reads_it_as_any_other_peatios(seed: int) -> None:
    for exchange, routing_key, headers, body in messages(seed, 120):
        event = read(Delivery(exchange, routing_key, headers, json.dumps(body).encode()))
        if isinstance(event, Trade):
            assert {party.owner for party in event.parties} == {MEMBER, CROWD}
        elif isinstance(event, Order):
            shown = json.loads(classic_order(event))
            assert None not in shown.values()
            whole = Decimal(shown["remaining_volume"]) + Decimal(shown["executed_volume"])
            assert whole == Decimal(shown["origin_volume"])
        elif isinstance(event, MemberEvent):
            assert (event.stream, routing_key) == ("balances", f"private.{MEMBER}.balances")
        else:
            assert isinstance(event, PublicEvent)
            assert event.stream in routing_key


def test_balances_are_texts_in_the_currencies_of_the_market() -> None:
    message = balances("IDANN", Balance(15_000, 1), Balance(912_000 * 10_000, 0))
    assert message.routing_key == "private.IDANN.balances"
    assert message.body == {"btc": ["1.5", "0.0001"], "usd": ["91200.0", "0.0"]}


def test_each_member_has_an_address_that_is_not_a_real_one() -> None:
    ann, bob = (deposit_address(uid, "btc") for uid in ("IDANN", "IDBOB"))
    assert ann.routing_key == "private.IDANN.deposit_address"
    assert {name: ann.body[name] for name in ("type", "currencies")} == {"type": "create", "currencies": ["btc"]}
    assert ann.body["address"].startswith("simulated-btc-")
    assert ann.body["address"] != bob.body["address"]


def test_an_order_over_rest_has_peatios_fields() -> None:
    order = SimulatedOrder(7, "IDANN", "sell", 91_205, 10_000, 15_000, BEGIN, funds=5_000 * 91_210, trades=2)
    assert rest_order(MemberOrder(order, BEGIN + 60)) == {
        "id": 7,
        "side": "sell",
        "ord_type": "limit",
        "price": "9120.5",
        "avg_price": "9121.0",
        "state": "wait",
        "market": "btcusd",
        "created_at": "2023-11-14T22:13:20Z",
        "updated_at": "2023-11-14T22:14:20Z",
        "origin_volume": "1.5",
        "remaining_volume": "1.0",
        "executed_volume": "0.5",
        "trades_count": 2,
    }


def test_a_trade_over_rest_has_peatios_fields() -> None:
    maker = SimulatedOrder(7, "IDANN", "sell", 91_205, 10_000, 15_000, BEGIN)
    taker = SimulatedOrder(8, "IDBOB", "buy", None, 0, 5_000, BEGIN)
    trade = SimulatedTrade(9, 91_205, 5_000, maker, taker)
    shown = {
        "id": 9,
        "price": "9120.5",
        "amount": "0.5",
        "total": "4560.25",
        "fee_currency": "usd",
        "fee": "0.0",
        "fee_amount": "0.0",
        "market": "btcusd",
        "created_at": "2023-11-14T22:13:20Z",
        "taker_type": "buy",
        "side": "sell",
        "order_id": 7,
    }
    assert rest_trade(MemberTrade(trade, maker, BEGIN)) == shown
    assert rest_trade(MemberTrade(trade, taker, BEGIN)) == {
        **shown,
        "fee_currency": "btc",
        "side": "buy",
        "order_id": 8,
    }


def test_a_trade_of_the_market_over_rest_has_peatios_fields() -> None:
    maker = SimulatedOrder(7, None, "sell", 91_205, 10_000, 15_000, BEGIN)
    taker = SimulatedOrder(8, "IDBOB", "buy", None, 0, 5_000, BEGIN)
    assert rest_public_trade(PublicTrade(SimulatedTrade(9, 91_205, 5_000, maker, taker), BEGIN)) == {
        "id": 9,
        "price": 9120.5,
        "amount": 0.5,
        "total": 4560.25,
        "market": "btcusd",
        "created_at": 1_700_000_000,
        "taker_type": "buy",
    }
