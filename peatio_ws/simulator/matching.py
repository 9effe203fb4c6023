"""The order book of one market, matched by price and then by time, for `simulation.py`.

Whole numbers only: prices in ticks, volumes in lots, so every sum is exact. Takes orders, and returns what happened to
them, to other orders and to the book, in order. Knows none of Peatio's names, no clock and no randomness.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

Side: TypeAlias = Literal["sell", "buy"]
OrderState: TypeAlias = Literal["wait", "done", "cancel"]

OTHER_SIDE: Final[dict[Side, Side]] = {"sell": "buy", "buy": "sell"}
DIRECTION: Final[dict[Side, int]] = {"sell": 1, "buy": -1}
"""The direction in which an offer on this side gets worse for the taker."""


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedOrder:
    """The state of an order at some time.

    Attributes:
        id: later orders have greater ids.
        owner: the member; None for the crowd's orders, which are not reported to a member.
        price: ticks; None for a market order.
        volume: remaining lots.
        origin: initial lots.
        created: Unix time.
        funds: ticks times lots that were traded.
        trades: the number of its trades.
    """

    id: int
    owner: str | None
    side: Side
    price: int | None
    volume: int
    origin: int
    created: float
    funds: int = 0
    trades: int = 0
    state: OrderState = "wait"

    def filled(self, volume: int, price: int) -> SimulatedOrder:
        left = self.volume - volume
        return dataclasses.replace(
            self,
            volume=left,
            funds=self.funds + volume * price,
            trades=self.trades + 1,
            state="wait" if left else "done",
        )

    def comes_before(self, other: SimulatedOrder) -> bool:
        """Whether this limit order is matched before another waiting order of the same side."""
        if self.price is None or other.price is None:
            return False  # market orders do not wait
        return ((self.price - other.price) * DIRECTION[self.side], self.id) < (0, other.id)

    def reaches(self, price: int) -> bool:
        """Whether this order would take an offer of the other side at this price."""
        return self.price is None or (price - self.price) * DIRECTION[self.side] >= 0


class SimulatedTrade(NamedTuple):
    """A trade of two orders, at the price of the one that waited. Both are given in their state after it."""

    id: int
    price: int
    volume: int
    maker: SimulatedOrder
    taker: SimulatedOrder


class BookLevel(NamedTuple):
    """The new total volume at a price; 0 if nothing is left.

    Attributes:
        sequence: counts the changes of the book, without gaps.
    """

    side: Side
    price: int
    volume: int
    sequence: int


MarketEvent: TypeAlias = SimulatedOrder | SimulatedTrade | BookLevel
"""A new or changed order, a trade, or a change of the book."""


class Market:
    """The waiting orders. A bid never reaches an ask.

    Args:
        ids: for trades.

    Attributes:
        sequence: of the last change.
    """

    def __init__(self, ids: Iterator[int]) -> None:
        self._ids = ids
        # The orders at each price, the oldest first.
        self._levels: dict[Side, dict[int, list[SimulatedOrder]]] = {"sell": {}, "buy": {}}
        self._places: dict[int, tuple[Side, int]] = {}
        self.sequence = 0

    def place(self, order: SimulatedOrder) -> list[MarketEvent]:
        """Match a new order. The rest of a limit order waits, the rest of a market order is cancelled.

        Members do not trade with themselves: an order of the same owner that is in the way is cancelled.
        """
        happenings: list[MarketEvent] = [order]
        while order.volume:
            price = self.best(OTHER_SIDE[order.side])
            if price is None or not order.reaches(price):
                break
            maker = self._levels[OTHER_SIDE[order.side]][price][0]
            if maker.owner is not None and maker.owner == order.owner:
                happenings += self.cancel(maker.id)
                continue
            volume = min(order.volume, maker.volume)
            maker, order = maker.filled(volume, price), order.filled(volume, price)
            trade = SimulatedTrade(next(self._ids), price, volume, maker, order)
            happenings += [maker, order, trade, self._replace(maker)]
        if order.volume and order.price is None:
            happenings.append(dataclasses.replace(order, state="cancel"))
        elif order.volume:
            happenings.append(self._add(order))
        return happenings

    def cancel(self, number: int) -> list[MarketEvent]:
        """Remove an order. Raises KeyError if no order with this id waits."""
        order = dataclasses.replace(self.waiting(number), state="cancel")
        return [order, self._replace(order)]

    def waiting(self, number: int) -> SimulatedOrder:
        """Return a waiting order. Raises KeyError."""
        side, price = self._places[number]
        return next(order for order in self._levels[side][price] if order.id == number)

    def orders(self, side: Side) -> Iterator[SimulatedOrder]:
        """Yield all waiting orders of a side."""
        for orders in self._levels[side].values():
            yield from orders

    def best(self, side: Side) -> int | None:
        """Return the price that is matched first; None if there are no orders."""
        return min(self._levels[side], key=lambda price: price * DIRECTION[side], default=None)

    def levels(self, side: Side) -> list[tuple[int, int]]:
        """Return prices with their total volumes, the best first."""
        prices = sorted(self._levels[side], key=lambda price: price * DIRECTION[side])
        return [(price, self._volume(side, price)) for price in prices]

    def _add(self, order: SimulatedOrder) -> BookLevel:
        assert order.price is not None
        self._levels[order.side].setdefault(order.price, []).append(order)
        self._places[order.id] = order.side, order.price
        return self._changed(order.side, order.price)

    def _replace(self, order: SimulatedOrder) -> BookLevel:
        """Store the new state of an order; remove it if it does not wait any more."""
        side, price = self._places[order.id]
        orders = self._levels[side][price]
        place = next(place for place, one in enumerate(orders) if one.id == order.id)
        if order.state == "wait":
            orders[place] = order
        else:
            del orders[place], self._places[order.id]
            if not orders:
                del self._levels[side][price]
        return self._changed(side, price)

    def _changed(self, side: Side, price: int) -> BookLevel:
        self.sequence += 1
        return BookLevel(side, price, self._volume(side, price), self.sequence)

    def _volume(self, side: Side, price: int) -> int:
        return sum(order.volume for order in self._levels[side].get(price, ()))
