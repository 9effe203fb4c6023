"""The simulated exchange of `make run`: a market that moves, one member whose orders are filled, and other orders.

Returns what happens as the messages that Peatio would publish. The same seed, times and orders give the same market.
Knows no clock, no broker (`exchange.py`) and no connection.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from peatio_ws.errors import ClientError
from peatio_ws.simulator.matching import (
    DIRECTION,
    OTHER_SIDE,
    Market,
    MarketEvent,
    Side,
    SimulatedOrder,
    SimulatedTrade,
)
from peatio_ws.simulator.members import KEPT_TRADES, MemberOrder, Members, MemberTrade
from peatio_ws.simulator.order_form import InvalidOrder, read_order
from peatio_ws.simulator.publications import Publication, PublicationWriter, PublicTrade, balances, snapshot

MEMBER: Final = "IDDEMO000001"
"""uid of the member whose orders are simulated."""
MEMBER_ID: Final = 1001

STEP_SECONDS: Final = 0.25
"""Time between two steps: the pace of the book."""
ORDER_STEPS: Final = 6
"""The number of steps after which something happens to the member's order."""
KLINE_STEPS: Final = 8
"""Two seconds, as in Peatio."""
TICKER_STEPS: Final = 12
"""Three seconds; five in Peatio. docs/benchmarks.md and docs/protocol.md have figures measured with this pace."""
SNAPSHOT_STEPS: Final = 240

FIRST_PRICE: Final = 91_200
LEVELS: Final = 25
"""Minimum number of prices with offers on each side of the book."""
REACH: Final = 200
"""Ticks from the price to the farthest order of the crowd."""
WITHDRAWN: Final = 0.4
"""The share of steps in which a member of the crowd changes an order."""
TAKEN: Final = 0.2
"""The share of steps in which a member of the crowd takes an offer."""
BARGAIN: Final = 20
"""Ticks from the price that make an order a bargain for the crowd."""
BITE: Final = 20_000
"""Minimum lots that the crowd takes of a bargain at once."""
MOST_WAITING: Final = 50
"""Waiting orders allowed per member, so that no client fills the memory."""


class Simulation:
    """A moving price, the crowd around it, one member whose orders are filled piece by piece, and other members.

    Args:
        seed: None for a random market.
        now: Unix time. Ids begin there, in milliseconds: they are used up more slowly than time passes, so the ids of a
            later simulation are greater than all of an earlier one's.
    """

    def __init__(self, seed: int | None, now: float) -> None:
        self._random = random.Random(seed)
        self._price = FIRST_PRICE
        self._steps = 0
        self._writer = PublicationWriter(FIRST_PRICE)
        self._ids = itertools.count(int(now * 1000))  # of orders and trades
        self._own: int | None = None  # the member's order
        self._members = Members()
        self._trades = deque[PublicTrade](maxlen=KEPT_TRADES)  # of the market, the latest first
        self.market = Market(self._ids)
        self._fill_up(now)

    def step(self, now: float) -> list[Publication]:
        """Return what happens next, at the Unix time `now`. Call it every `STEP_SECONDS`."""
        messages = [snapshot(self.market)] if self._steps % SNAPSHOT_STEPS == 0 else []
        own = self._own_order()
        self._price += self._drift(own)
        happenings: list[MarketEvent] = []
        if self._steps % ORDER_STEPS == 0:
            happenings = self._place(now) if own is None else self._fill(own, now)
        messages += self._publications([*happenings, *self._crowd(now)], now)
        if self._steps % TICKER_STEPS == 0:
            messages.append(self._writer.ticker(now))
        if self._steps % KLINE_STEPS == 0:
            messages += self._writer.klines(now)
        self._steps += 1
        return messages

    # ---- orders of clients

    def place(self, uid: str, wanted: Mapping[str, Any], now: float) -> tuple[int, list[Publication]]:
        """Place a member's order.

        Args:
            wanted: see `order_form.read_order`.

        Returns:
            The order's id, and everything that happens because of it.

        Raises:
            InvalidOrder: the first fault of the order.
        """
        side, price, volume = read_order(wanted)
        if len(self._members.waiting(uid)) >= MOST_WAITING:
            text = f"{MOST_WAITING} of your orders are waiting already; cancel one first"
            raise InvalidOrder(text, "market.order.create_error")
        if not self._can_pay(uid, side, price, volume):
            text = f"volume: your balance of {'btc' if side == 'sell' else 'usd'} is too low"
            raise InvalidOrder(text, "market.account.insufficient_balance")
        order = self._new(uid, side, price, volume, now)
        return order.id, self._publications(self.market.place(order), now)

    def cancel(self, uid: str, number: object, now: float) -> list[Publication]:
        """Cancel a member's order. Raises ClientError if the member has no waiting order with this id."""
        try:
            if not isinstance(number, int) or self.market.waiting(number).owner != uid:
                raise KeyError(number)
        except KeyError:
            raise ClientError("id: you have no waiting order with this id") from None
        return self._publications(self.market.cancel(number), now)

    def orders(self, uid: str) -> list[MemberOrder]:
        """Return a member's latest orders, the last changed one first."""
        return self._members.orders(uid)

    def trades(self, uid: str) -> list[MemberTrade]:
        """Return a member's latest trades, the latest first."""
        return self._members.trades(uid)

    def public_trades(self) -> list[PublicTrade]:
        """Return the market's latest trades, the latest first."""
        return list(self._trades)

    def _can_pay(self, uid: str, side: Side, price: int | None, volume: int) -> bool:
        if side == "sell":
            return volume <= self._members.base(uid).available
        funds = 0 if price is None else price * volume
        for offered, there in self.market.levels("sell") if price is None else ():
            taken = min(there, volume)
            funds, volume = funds + taken * offered, volume - taken
        return funds <= self._members.quote(uid).available

    # ---- the member whose orders are simulated

    def _own_order(self) -> SimulatedOrder | None:
        if self._own is not None:
            try:
                return self.market.waiting(self._own)
            except KeyError:
                self._own = None  # filled, or cancelled
        return None

    def _place(self, now: float) -> list[MarketEvent]:
        """Place an order at the price that does not trade at once; leave the member's other orders alone."""
        side: Side = self._random.choice(("sell", "buy"))
        best = self.market.best(OTHER_SIDE[side])
        price = self._price
        if best is not None and (price - best) * DIRECTION[side] <= 0:
            price = best + DIRECTION[side]
        if abs(price - self._price) > BARGAIN:
            return []  # another order is in the way
        volume = self._random.randrange(5, 30) * 1000
        if not self._can_pay(MEMBER, side, price, volume):
            return []
        order = self._new(MEMBER, side, price, volume, now)
        self._own = order.id
        return self.market.place(order)

    def _fill(self, own: SimulatedOrder, now: float) -> list[MarketEvent]:
        """The crowd takes a piece of the member's order, and all offers before it."""
        before = sum(order.volume for order in self.market.orders(own.side) if order.comes_before(own))
        piece = min(own.volume, self._random.randrange(1, 12) * 1000)
        return self.market.place(self._new(None, OTHER_SIDE[own.side], own.price, before + piece, now))

    def _drift(self, own: SimulatedOrder | None) -> int:
        """Return the price's next move: towards the member's order, which is filled there; else slowly to the start."""
        if own is not None and own.price is not None:
            pull = (own.price - self._price) / 8
        else:
            pull = (FIRST_PRICE - self._price) / 1000
        return self._random.randrange(-5, 6) + round(pull)

    # ---- the crowd

    def _crowd(self, now: float) -> list[MarketEvent]:
        return [
            *self._leave(),
            *self._withdraw(),
            *self._take(now),
            *self._hunt(now),
            *self._fill_up(now),
            *self._change(now),
        ]

    def _leave(self) -> list[MarketEvent]:
        """Remove orders that the price has passed, and orders far from it. Runs before new offers are made."""
        far = [
            order.id
            for side, direction in DIRECTION.items()
            for order in self._crowds(side)
            if order.price is not None and not 0 < (order.price - self._price) * direction <= REACH
        ]
        return [happening for number in far for happening in self.market.cancel(number)]

    def _withdraw(self) -> list[MarketEvent]:
        mine = self._crowds(self._random.choice(("sell", "buy")))
        if self._random.random() >= WITHDRAWN or not mine:
            return []
        return self.market.cancel(self._random.choice(mine).id)

    def _take(self, now: float) -> list[MarketEvent]:
        side: Side = self._random.choice(("sell", "buy"))
        if self._random.random() >= TAKEN:
            return []
        return self.market.place(self._new(None, side, None, self._random.randrange(10, 8000), now))

    def _hunt(self, now: float) -> list[MarketEvent]:
        """Take bargains: offers far below the price, or bids far above it, piece by piece."""
        happenings: list[MarketEvent] = []
        for side, direction in DIRECTION.items():
            best = self.market.best(side)
            if best is not None and (self._price - best) * direction > BARGAIN:
                offered = dict(self.market.levels(side))[best]
                piece = min(offered, max(BITE, offered // 8))
                happenings += self.market.place(self._new(None, OTHER_SIDE[side], best, piece, now))
        return happenings

    def _fill_up(self, now: float) -> list[MarketEvent]:
        """Add offers where there are few. They wait, whatever others offer there."""
        happenings: list[MarketEvent] = []
        for side, direction in DIRECTION.items():
            taken = {order.price for order in self._crowds(side)}
            best = self.market.best(OTHER_SIDE[side])
            for _ in range(4 * LEVELS):  # other orders may leave too little room
                if len(taken) >= LEVELS:
                    break
                price = self._price + direction * self._random.randrange(1, REACH + 1)
                if price not in taken and (best is None or (price - best) * direction > 0):
                    taken.add(price)
                    happenings += self.market.place(self._new(None, side, price, self._amount(), now))
        return happenings

    def _change(self, now: float) -> list[MarketEvent]:
        """A member of the crowd changes the volume of an order."""
        side: Side = self._random.choice(("sell", "buy"))
        mine = self._crowds(side)
        if not mine:
            return []
        one = self._random.choice(mine)
        return [
            *self.market.cancel(one.id),
            *self.market.place(self._new(None, side, one.price, self._amount(), now)),
        ]

    def _crowds(self, side: Side) -> list[SimulatedOrder]:
        return [order for order in self.market.orders(side) if order.owner is None]

    def _amount(self) -> int:
        return self._random.randrange(1, 3000) * 10

    # ---- all orders

    def _new(self, owner: str | None, side: Side, price: int | None, volume: int, now: float) -> SimulatedOrder:
        return SimulatedOrder(next(self._ids), owner, side, price, volume, volume, now)

    def _publications(self, happenings: Iterable[MarketEvent], now: float) -> list[Publication]:
        """Return what is published of these events, and then the balances of the members whose orders changed."""
        messages, changed = list[Publication](), dict[str, None]()
        for happening in happenings:
            self._members.take(happening, now)
            if isinstance(happening, SimulatedTrade):
                self._trades.appendleft(PublicTrade(happening, now))
            messages += self._writer.write(happening, now)
            if isinstance(happening, SimulatedOrder) and happening.owner is not None:
                changed[happening.owner] = None
        return messages + [balances(uid, self._members.base(uid), self._members.quote(uid)) for uid in changed]
