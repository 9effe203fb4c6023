"""The simulated exchange of `make run`: one market, whose book moves, and one member, whose orders are filled.

Says what happens as the messages that Peatio publishes then. The same seed and times are the same market. Knows no
clock and no broker (`embedded.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from peatio_ws.events import ORDERBOOK, RANGER, TRADE

MEMBER: Final = "IDDEMO000001"
"""uid of the member whose orders are simulated."""
MEMBER_ID: Final = 1001
OTHER_ID: Final = 2002
MARKET: Final = "btcusd"

STEP_SECONDS: Final = 0.25
"""Between two steps: the book's pace."""
ORDER_STEPS: Final = 6
"""After so many steps something happens to the member's order."""
TICKER_STEPS: Final = 12
SNAPSHOT_STEPS: Final = 240

FIRST_PRICE: Final = 91_200
"""Prices are whole numbers of ticks here, and a tick is 0.1."""
LEVELS: Final = 25
"""Prices with something on offer, on each side of the book."""
REACH: Final = 200
"""Ticks from the price to the farthest of them."""
WITHDRAWN: Final = 0.4
"""How often, of the steps, an offer is withdrawn and another one comes."""
SIDES: Final = {"asks": 1, "bids": -1}
"""The book's sides, and in which direction of the price they lie."""


class Message(NamedTuple):
    """What Peatio would publish."""

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    body: Any


class Simulation:
    """A price that walks, the book around it, and orders of one member that are filled piece by piece.

    Args:
        seed: None for a market that nobody has seen yet.
        now: Unix time; ids begin there.
    """

    def __init__(self, seed: int | None, now: float) -> None:
        self._random = random.Random(seed)
        self._price = FIRST_PRICE
        self._steps = 0
        self._next_id = int(now)
        self._order: dict[str, Any] | None = None
        self._tape = Tape(text_of(FIRST_PRICE))
        self.book = Book(self._random, FIRST_PRICE)

    def step(self, now: float) -> list[Message]:
        """What happens next, at the Unix time `now`; to be called every `STEP_SECONDS`."""
        messages = []
        if self._steps % SNAPSHOT_STEPS == 0:
            messages.append(_public("ob-snap", self.book.snapshot()))
        self._price += self._drift()
        messages += [_public("ob-inc", change) for change in self.book.move(self._price)]
        if self._steps % ORDER_STEPS == 0:
            messages += self._place(now) if self._order is None else self._fill(self._order, now)
        if self._steps % TICKER_STEPS == 0:
            messages.append(Message(RANGER, "public.global.tickers", {}, {MARKET: self._tape.ticker(now)}))
        self._steps += 1
        return messages

    def _drift(self) -> int:
        """The price's next move: towards the member's order, which is filled there; else slowly back to the first."""
        if self._order is not None:
            pull = (ticks_of(self._order["price"]) - self._price) / 8
        else:
            pull = (FIRST_PRICE - self._price) / 1000
        return self._random.randrange(-5, 6) + round(pull)

    def _number(self) -> int:
        self._next_id += 1
        return self._next_id

    def _place(self, now: float) -> list[Message]:
        volume = Decimal(self._random.randrange(5, 30)) / 10
        self._order = {
            "id": self._number(),
            "side": self._random.choice(["sell", "buy"]),
            "ord_type": "limit",
            "price": text_of(self._price),
            "avg_price": "0.0",
            "state": "wait",
            "market_id": MARKET,
            "created_at": _iso(now),
            "origin_volume": str(volume),
            "volume": str(volume),
            "trades_count": 0,
            "trades": [],
            "member_id": MEMBER_ID,
        }
        return [_update(self._order)]

    def _fill(self, order: dict[str, Any], now: float) -> list[Message]:
        left = Decimal(order["volume"])
        amount = min(left, Decimal(self._random.randrange(1, 12)) / 10)
        order |= {"volume": str(left - amount), "trades_count": order["trades_count"] + 1, "avg_price": order["price"]}
        if not left - amount:
            order["state"] = "done"
            self._order = None
        own, other = ("ask", "bid") if order["side"] == "sell" else ("bid", "ask")
        trade = {
            "id": self._number(),
            "price": order["price"],
            "volume": str(amount),
            "funds": str(amount * Decimal(order["price"])),
            "market_id": MARKET,
            "created_at": _iso(now),
            f"{own}_id": order["id"],
            f"{other}_id": self._number(),
        }
        headers = {"market": MARKET, f"{own}_member_id": MEMBER_ID, f"{other}_member_id": OTHER_ID}
        row = {
            "tid": trade["id"],
            "taker_type": "buy" if own == "ask" else "sell",
            "date": int(now),
            "price": trade["price"],
            "amount": trade["volume"],
        }
        self._tape.add(trade, now)
        return [
            _update(order),
            Message(TRADE, "", headers, trade),
            _public("trades", {"trades": [row]}),
            _public("kline-1m", self._tape.candle),
        ]


class Book:
    """What is on offer around a price, and how it changes. At no time does a bid reach an ask.

    Attributes:
        sequence: number of the last change.
    """

    def __init__(self, chance: random.Random, price: int) -> None:
        self._random = chance
        self._levels: dict[str, dict[int, str]] = {side: {} for side in SIDES}
        self.sequence = 0
        self.move(price)

    def move(self, price: int) -> list[dict[str, Any]]:
        """Follow the price; the bodies of the increments, in order."""
        return [*self._leave(price), *self._withdraw(), *self._fill_up(price), self._change()]

    def snapshot(self) -> dict[str, Any]:
        """All of it, the best prices first."""
        sides = {
            side: [[text_of(price), levels[price]] for price in sorted(levels, key=lambda price: price * SIDES[side])]
            for side, levels in self._levels.items()
        }
        return {**sides, "sequence": self.sequence}

    def _leave(self, price: int) -> Iterator[dict[str, Any]]:
        """Take away what was traded away, and what is far off now. Before anything is offered at the new price."""
        for side, direction in SIDES.items():
            for level in [level for level in self._levels[side] if not 0 < (level - price) * direction <= REACH]:
                yield self._take_away(side, level)

    def _withdraw(self) -> Iterator[dict[str, Any]]:
        """Now and then somebody changes his mind."""
        side = self._random.choice(list(SIDES))
        if self._levels[side] and self._random.random() < WITHDRAWN:
            yield self._take_away(side, self._random.choice(list(self._levels[side])))

    def _fill_up(self, price: int) -> Iterator[dict[str, Any]]:
        for side, direction in SIDES.items():
            levels = self._levels[side]
            while len(levels) < LEVELS:
                level = price + direction * self._random.randrange(1, REACH + 1)
                if level not in levels:
                    yield self._offer(side, level)

    def _change(self) -> dict[str, Any]:
        side = self._random.choice(list(SIDES))
        return self._offer(side, self._random.choice(list(self._levels[side])))

    def _offer(self, side: str, level: int) -> dict[str, Any]:
        self._levels[side][level] = str(Decimal(self._random.randrange(1, 3000)) / 1000)
        return self._increment(side, level, self._levels[side][level])

    def _take_away(self, side: str, level: int) -> dict[str, Any]:
        del self._levels[side][level]
        return self._increment(side, level, "0")

    def _increment(self, side: str, level: int, volume: str) -> dict[str, Any]:
        self.sequence += 1
        return {side: [text_of(level), volume], "sequence": self.sequence}


class Tape:
    """What the public trades come to: the ticker, and the candle of the minute.

    Attributes:
        candle: the minute's beginning, open, high, low, close and volume, as numbers.
    """

    def __init__(self, price: str) -> None:
        self._open = self._last = self._low = self._high = Decimal(price)
        self._amount = self._funds = Decimal("0.0")
        self.candle: list[float] = []

    def add(self, trade: Mapping[str, Any], now: float) -> None:
        self._last, amount = Decimal(trade["price"]), Decimal(trade["volume"])
        self._low, self._high = min(self._low, self._last), max(self._high, self._last)
        self._amount, self._funds = self._amount + amount, self._funds + Decimal(trade["funds"])
        minute, price = int(now) // 60 * 60, float(self._last)
        if self.candle[:1] != [minute]:
            self.candle = [minute, price, price, price, price, 0.0]
        _, first, high, low, _, volume = self.candle
        self.candle = [minute, first, max(high, price), min(low, price), price, round(volume + float(amount), 8)]

    def ticker(self, now: float) -> dict[str, Any]:
        change = round((self._last - self._open) / self._open * 100, 2) + 0  # no -0.00
        return {
            "name": "BTC/USD",
            "base_unit": "btc",
            "quote_unit": "usd",
            "low": str(self._low),
            "high": str(self._high),
            "open": str(self._open),
            "last": str(self._last),
            "volume": str(self._funds),
            "amount": str(self._amount),
            "avg_price": f"{self._funds / self._amount:.2f}" if self._amount else "0.0",
            "price_change_percent": f"{change:+}%",
            "at": int(now),
        }


def text_of(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}"


def ticks_of(price: str) -> int:
    return int(Decimal(price) * 10)


def _public(name: str, body: Any) -> Message:
    return Message(RANGER, f"public.{MARKET}.{name}", {}, body)


def _update(order: Mapping[str, Any]) -> Message:
    return Message(ORDERBOOK, "", {}, {"action": "update", "order": dict(order)})


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
