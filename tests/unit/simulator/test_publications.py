"""Publications of the simulated exchange are read like those of any Peatio."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import TRADE, Delivery
from peatio_ws.protocol.private_events.order import Order, classic_order
from peatio_ws.protocol.private_events.trade import Trade
from peatio_ws.protocol.public_events import PublicEvent
from peatio_ws.simulator.publications import CROWD, Publication, text_of
from peatio_ws.simulator.simulation import (
    FIRST_PRICE,
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
        else:
            assert isinstance(event, PublicEvent)
            assert event.stream in routing_key
