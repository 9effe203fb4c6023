"""The members of the simulated exchange: their balances, and their latest orders and trades.

Learns them from what happens in the market (`matching.py`). Whole numbers only, as there. Knows no clock and no broker.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from peatio_ws.simulator.matching import MarketEvent, SimulatedOrder, SimulatedTrade

OPENING_LOTS: Final = 10_000 * 10_000
"""Lots of the base currency that a new member owns: 10,000 BTC."""
OPENING_FUNDS: Final = 100_000_000 * 100_000
"""Ticks times lots of the quote currency that a new member owns: 100,000,000 USD."""
KEPT_ORDERS: Final = 150
"""Orders kept per member: the waiting ones, and the latest others."""
KEPT_TRADES: Final = 1000
"""Trades kept per member, and of the market: the most that Peatio returns at once."""


class Balance(NamedTuple):
    """What a member has of a currency: free, and locked by waiting orders."""

    available: int
    locked: int


class MemberOrder(NamedTuple):
    """An order, and the Unix time of its last change."""

    order: SimulatedOrder
    updated: float


class MemberTrade(NamedTuple):
    """A trade, the member's order in it, and its Unix time."""

    trade: SimulatedTrade
    order: SimulatedOrder
    created: float


class _Member:
    def __init__(self) -> None:
        self.lots, self.funds = OPENING_LOTS, OPENING_FUNDS
        self.orders: dict[int, MemberOrder] = {}  # by id, the last changed one last
        self.trades = deque[MemberTrade](maxlen=KEPT_TRADES)  # the latest first


class Members:
    """All members that have placed an order. Others have the opening balances."""

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}

    def take(self, happening: MarketEvent, now: float) -> None:
        """Learn from what happened in the market."""
        match happening:
            case SimulatedOrder(owner=str(uid)):
                self._keep(self._members.setdefault(uid, _Member()), MemberOrder(happening, now))
            case SimulatedTrade(_, price, volume, maker, taker):
                for order in (maker, taker):
                    if order.owner is not None:
                        member, sign = self._members[order.owner], 1 if order.side == "buy" else -1
                        member.lots += sign * volume
                        member.funds -= sign * volume * price
                        member.trades.appendleft(MemberTrade(happening, order, now))

    def orders(self, uid: str) -> list[MemberOrder]:
        """Return the member's orders, the last changed one first."""
        member = self._members.get(uid)
        return list(reversed(member.orders.values())) if member else []

    def trades(self, uid: str) -> list[MemberTrade]:
        """Return the member's trades, the latest first."""
        member = self._members.get(uid)
        return list(member.trades) if member else []

    def waiting(self, uid: str) -> list[SimulatedOrder]:
        """Return the member's orders in the book."""
        return [order for order, _ in self.orders(uid) if order.state == "wait"]

    def base(self, uid: str) -> Balance:
        """Return the balance of the base currency, in lots."""
        locked = sum(order.volume for order in self.waiting(uid) if order.side == "sell")
        return Balance(self._members.get(uid, _Member()).lots - locked, locked)

    def quote(self, uid: str) -> Balance:
        """Return the balance of the quote currency, in ticks times lots."""
        locked = sum(order.volume * (order.price or 0) for order in self.waiting(uid) if order.side == "buy")
        return Balance(self._members.get(uid, _Member()).funds - locked, locked)

    @staticmethod
    def _keep(member: _Member, one: MemberOrder) -> None:
        member.orders.pop(one.order.id, None)
        member.orders[one.order.id] = one
        if len(member.orders) > KEPT_ORDERS:
            oldest = next((number for number, (order, _) in member.orders.items() if order.state != "wait"), None)
            if oldest is not None:
                del member.orders[oldest]
