"""Turns the events of the simulated market into the messages that Peatio publishes.

Takes what happens in a market (`matching.py`), and returns what to publish. Knows no clock and no broker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from peatio_ws.protocol.exchanges import ORDERBOOK, RANGER, TRADE
from peatio_ws.simulator.matching import BookLevel, Market, MarketEvent, Side, SimulatedOrder, SimulatedTrade
from peatio_ws.simulator.members import Balance, MemberOrder, MemberTrade
from peatio_ws.simulator.tape import TradeTape, plain

MARKET: Final = "btcusd"
TICK: Final = Decimal("0.1")
"""The smallest step between two prices."""
LOT: Final = Decimal("0.0001")
"""The smallest step between two volumes."""
CROWD: Final = "IDDEMO000002"
"""uid of the crowd, whose orders belong to no member."""

_SIDES: Final[dict[Side, str]] = {"sell": "asks", "buy": "bids"}


class Publication(NamedTuple):
    """A message that Peatio would publish."""

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    body: Any


class PublicTrade(NamedTuple):
    """A trade of the market, and its Unix time."""

    trade: SimulatedTrade
    created: float


class PublicationWriter:
    """Writes the messages of one market, and sums up its trades.

    Args:
        price: opening price, in ticks.
    """

    def __init__(self, price: int) -> None:
        self._tape = TradeTape(text_of(price))

    def write(self, happening: MarketEvent, now: float) -> Iterator[Publication]:
        match happening:
            case SimulatedOrder(owner=None):
                return
            case SimulatedOrder():
                yield Publication(
                    ORDERBOOK, "", {"uid": happening.owner}, {"action": "update", "order": _order(happening)}
                )
            case BookLevel(side, price, volume, sequence):
                change = {_SIDES[side]: [text_of(price), volume_text(volume)], "sequence": sequence}
                yield _public("ob-inc", change)
            case SimulatedTrade():
                yield from self._trade(happening, now)

    def ticker(self, now: float) -> Publication:
        return Publication(RANGER, "public.global.tickers", {}, {MARKET: self._tape.ticker(now)})

    def klines(self, now: float) -> Iterator[Publication]:
        """Yield the current candle of each period."""
        for period, candle in self._tape.candles(now):
            yield _public(f"kline-{period}", candle)

    def _trade(self, trade: SimulatedTrade, now: float) -> Iterator[Publication]:
        taker = trade.taker
        ask, bid = (trade.maker, taker) if taker.side == "buy" else (taker, trade.maker)
        price, volume = text_of(trade.price), volume_text(trade.volume)
        funds = plain(trade.price * TICK * trade.volume * LOT)
        self._tape.add(price, volume, funds, now)
        if ask.owner is not None or bid.owner is not None:
            body = {
                "id": trade.id,
                "price": price,
                "volume": volume,
                "funds": funds,
                "market_id": MARKET,
                "created_at": _iso(now),
                "ask_id": ask.id,
                "bid_id": bid.id,
            }
            headers = {"market": MARKET, "ask_uid": ask.owner or CROWD, "bid_uid": bid.owner or CROWD}
            yield Publication(TRADE, "", headers, body)
        row = {"tid": trade.id, "taker_type": taker.side, "date": int(now), "price": price, "amount": volume}
        yield _public("trades", {"trades": [row]})


def snapshot(market: Market) -> Publication:
    """Return the whole book, the best prices first."""
    sides = {
        name: [[text_of(price), volume_text(volume)] for price, volume in market.levels(side)]
        for side, name in _SIDES.items()
    }
    return _public("ob-snap", {**sides, "sequence": market.sequence})


def balances(uid: str, base: Balance, quote: Balance) -> Publication:
    """Return a member's balances, as an exchange with OpenFinex publishes them."""
    body = {
        "btc": [volume_text(base.available), volume_text(base.locked)],
        "usd": [plain(quote.available * TICK * LOT), plain(quote.locked * TICK * LOT)],
    }
    return Publication(RANGER, f"private.{uid}.balances", {}, body)


def deposit_address(uid: str, currency: str) -> Publication:
    """Return a member's new address. It is recognizably not a real one, so that nobody sends coins to it."""
    address = f"simulated-{currency}-{hashlib.sha256(f'{uid} {currency}'.encode()).hexdigest()[:24]}"
    body = {"type": "create", "currencies": [currency], "address": address}
    return Publication(RANGER, f"private.{uid}.deposit_address", {}, body)


def rest_order(one: MemberOrder) -> dict[str, Any]:
    """Return an order as Peatio's REST API shows it in `GET …/market/orders`."""
    order = _order(one.order)
    named = "id side ord_type price avg_price state".split()
    return {
        **{name: order[name] for name in named},
        "market": MARKET,
        "created_at": order["created_at"],
        "updated_at": _iso(one.updated),
        "origin_volume": order["origin_volume"],
        "remaining_volume": order["volume"],
        "executed_volume": volume_text(one.order.origin - one.order.volume),
        "trades_count": order["trades_count"],
    }


def rest_trade(one: MemberTrade) -> dict[str, Any]:
    """Return a trade as Peatio's REST API shows it in `GET …/market/trades`. The simulated exchange charges no fee."""
    trade, order = one.trade, one.order
    return {
        "id": trade.id,
        "price": text_of(trade.price),
        "amount": volume_text(trade.volume),
        "total": plain(trade.price * TICK * trade.volume * LOT),
        "fee_currency": "btc" if order.side == "buy" else "usd",
        "fee": "0.0",
        "fee_amount": "0.0",
        "market": MARKET,
        "created_at": _iso(one.created),
        "taker_type": trade.taker.side,
        "side": order.side,
        "order_id": order.id,
    }


def rest_public_trade(one: PublicTrade) -> dict[str, Any]:
    """Return a trade as Peatio's REST API shows it in `GET …/public/markets/<market>/trades`. From 2.4 on, Peatio reads
    it from InfluxDB: prices and amounts are numbers there, and the time is in Unix seconds."""
    trade = one.trade
    return {
        "id": trade.id,
        "price": float(trade.price * TICK),
        "amount": float(trade.volume * LOT),
        "total": float(trade.price * TICK * trade.volume * LOT),
        "market": MARKET,
        "created_at": int(one.created),
        "taker_type": trade.taker.side,
    }


def text_of(ticks: int) -> str:
    return str(ticks * TICK)


def volume_text(lots: int) -> str:
    return plain(lots * LOT)


def _order(order: SimulatedOrder) -> dict[str, Any]:
    done = order.origin - order.volume
    return {
        "id": order.id,
        "side": order.side,
        "ord_type": "market" if order.price is None else "limit",
        "price": None if order.price is None else text_of(order.price),
        # The only number that may have to be rounded.
        "avg_price": plain(round(order.funds * TICK / done, 4)) if done else "0.0",
        "state": order.state,
        "market_id": MARKET,
        "created_at": _iso(order.created),
        "origin_volume": volume_text(order.origin),
        "volume": volume_text(order.volume),
        "trades_count": order.trades,
        "trades": [],
    }


def _public(name: str, body: Any) -> Publication:
    return Publication(RANGER, f"public.{MARKET}.{name}", {}, body)


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
