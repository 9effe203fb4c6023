"""Trades are distinguished by market and id, for long enough, in bounded memory."""

from __future__ import annotations

import pytest

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.private_events.base import TradeKey
from peatio_ws.protocol.private_events.trade import Trade
from peatio_ws.routing.seen_trades import KEPT, KEPT_SECONDS, SeenTrades
from tests.unit.samples import on_trade


def trade(number: object, market: object) -> Trade:
    event = read(on_trade({"id": number, "market_id": market}, ask_uid="A"))
    assert isinstance(event, Trade)
    return event


A, B = TradeKey(b"1", b"a"), TradeKey(b"1", b"b")


def test_trade_is_identified_by_market_and_id() -> None:
    assert trade(1, "btcusd").key == trade("1", "btcusd").key
    keys = {trade(number, market).key for number in (1, 11) for market in ("btcusd", "1btcusd", None)}
    assert len(keys) == 6
    seen = SeenTrades(0.0)
    assert all(seen.add(key, 0.0) for key in (A, B))
    assert not any(seen.add(key, 0.0) for key in (A, B))


@pytest.mark.parametrize("turn", [1, -1])
def test_a_copy_without_a_market_is_a_copy_of_the_trade_with_its_id(turn: int) -> None:
    seen = SeenTrades(0.0)
    first, second = [A, TradeKey(b"1", b"")][::turn]
    assert seen.add(first, 0.0)
    assert not seen.add(second, 0.0)
    assert seen.add(TradeKey(b"2", b""), 0.0)


@pytest.mark.parametrize("at", [0.0, KEPT_SECONDS / 2, KEPT_SECONDS - 0.1, KEPT_SECONDS, KEPT_SECONDS * 1.9])
def test_trade_is_remembered_for_a_while_among_other_trades(at: float) -> None:
    seen = SeenTrades(0.0)
    assert seen.add(A, at)
    assert seen.add(B, at + KEPT_SECONDS / 2)
    assert not seen.add(A, at + KEPT_SECONDS - 0.1)


def test_old_trades_are_forgotten() -> None:
    seen = SeenTrades(0.0)
    assert seen.add(A, 0.0)
    assert seen.add(A, 2 * KEPT_SECONDS)
    assert seen.add(TradeKey(b"1", b""), 5 * KEPT_SECONDS)


def test_last_trades_are_remembered_in_bounded_memory() -> None:
    seen = SeenTrades(0.0)
    count = 3 * KEPT + 100
    for number in range(count):
        assert seen.add(TradeKey(b"%d" % number, b"a"), 0.0)
        assert len(seen._young) + len(seen._old) <= 4 * KEPT
    assert not any(seen.add(TradeKey(b"%d" % number, b"a"), 0.0) for number in range(count - KEPT, count))
