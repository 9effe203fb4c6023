"""One market's book of orders, matched by price and then by time; what `simulation.py` trades in.

Whole numbers only: prices in ticks, volumes in lots, so that every sum is exact. Orders in; what became of them, of
others' and of the book out, in the order in which it happened. Knows no names of Peatio's, no clock and no chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

Side: TypeAlias = Literal["sell", "buy"]
OrderState: TypeAlias = Literal["wait", "done", "cancel"]

OTHER_SIDE: Final[dict[Side, Side]] = {"sell": "buy", "buy": "sell"}
DIRECTION: Final[dict[Side, int]] = {"sell": 1, "buy": -1}
"""In which direction of the price an offer of a side gets worse for who takes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class SimulatedOrder:
    """An order as it is at some time.

    Attributes:
        id: of two orders the later has the greater.
        owner: whose it is; None for anybody's of the crowd, who are not told of it.
        price: ticks; None for a market order.
        volume: lots that are left of it.
        origin: lots that it began with.
        created: Unix time.
        funds: ticks times lots that were traded.
        trades: how many trades it had.
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
        """Whether this limit order is taken before another one of the same side, which waits too."""
        if self.price is None or other.price is None:
            return False  # they do not wait
        return ((self.price - other.price) * DIRECTION[self.side], self.id) < (0, other.id)

    def reaches(self, price: int) -> bool:
        """Whether an offer of the other side at this price would be taken."""
        return self.price is None or (price - self.price) * DIRECTION[self.side] >= 0


class SimulatedTrade(NamedTuple):
    """Two orders met, at the price of the one that waited; both as they are after it."""

    price: int
    volume: int
    maker: SimulatedOrder
    taker: SimulatedOrder


class BookLevel(NamedTuple):
    """All that is offered at a price from now on; 0 for nothing.

    Attributes:
        sequence: counts the changes of the book, without a hole.
    """

    side: Side
    price: int
    volume: int
    sequence: int


MarketEvent: TypeAlias = SimulatedOrder | SimulatedTrade | BookLevel
"""An order that came, or changed; a trade; a change of the book."""


class Market:
    """The orders that wait. At no time does a bid reach an ask.

    Attributes:
        sequence: of the last change.
    """

    def __init__(self) -> None:
        # At each price the orders, the first that came first.
        self._levels: dict[Side, dict[int, list[SimulatedOrder]]] = {"sell": {}, "buy": {}}
        self._places: dict[int, tuple[Side, int]] = {}
        self.sequence = 0

    def place(self, order: SimulatedOrder) -> list[MarketEvent]:
        """Match a new order; what is left of a limit order waits, what is left of a market order is cancelled.

        Nobody trades with himself: an order of his own that is in the way is cancelled.
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
            happenings += [maker, order, SimulatedTrade(price, volume, maker, order), self._replace(maker)]
        if order.volume and order.price is None:
            happenings.append(dataclasses.replace(order, state="cancel"))
        elif order.volume:
            happenings.append(self._add(order))
        return happenings

    def cancel(self, number: int) -> list[MarketEvent]:
        """Take an order away. KeyError if none of this number waits."""
        order = dataclasses.replace(self.waiting(number), state="cancel")
        return [order, self._replace(order)]

    def waiting(self, number: int) -> SimulatedOrder:
        """An order that waits. KeyError."""
        side, price = self._places[number]
        return next(order for order in self._levels[side][price] if order.id == number)

    def orders(self, side: Side) -> Iterator[SimulatedOrder]:
        """All that wait."""
        for orders in self._levels[side].values():
            yield from orders

    def best(self, side: Side) -> int | None:
        """The price that is taken first; None where nothing is offered."""
        return min(self._levels[side], key=lambda price: price * DIRECTION[side], default=None)

    def levels(self, side: Side) -> list[tuple[int, int]]:
        """Prices and what is offered there, the best first."""
        prices = sorted(self._levels[side], key=lambda price: price * DIRECTION[side])
        return [(price, self._volume(side, price)) for price in prices]

    def _add(self, order: SimulatedOrder) -> BookLevel:
        assert order.price is not None
        self._levels[order.side].setdefault(order.price, []).append(order)
        self._places[order.id] = order.side, order.price
        return self._changed(order.side, order.price)

    def _replace(self, order: SimulatedOrder) -> BookLevel:
        """Keep an order as it is now; one that does not wait any more goes."""
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
