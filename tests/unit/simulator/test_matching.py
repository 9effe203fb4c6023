"""The market of the simulated exchange against a model: the oldest order at the best price is filled first."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.simulator.matching import (
    DIRECTION,
    OTHER_SIDE,
    BookLevel,
    Market,
    MarketEvent,
    Side,
    SimulatedOrder,
    SimulatedTrade,
)

sides = st.sampled_from(["sell", "buy"])
orders = st.lists(
    st.tuples(st.sampled_from(["A", "B", None]), sides, st.one_of(st.none(), st.integers(95, 105)), st.integers(1, 9)),
    max_size=60,
)


def new(number: int, owner: str | None, side: Side, price: int | None, volume: int) -> SimulatedOrder:
    return SimulatedOrder(number, owner, side, price, volume, volume, 0.0)


class Model:
    """All that wait, in one list, searched from its beginning."""

    def __init__(self) -> None:
        self.waiting = list[list[object]]()  # number, owner, side, price, volume

    def place(self, number: int, owner: str | None, side: Side, price: int | None, volume: int) -> list[object]:
        """Pairs (number, volume) of what is taken, and the numbers of what its owner had in the way."""
        found: list[object] = []
        while volume:
            others = [one for one in self.waiting if one[2] == OTHER_SIDE[side]]
            if side == "buy":
                others = [one for one in others if price is None or one[3] <= price]  # type: ignore[operator]
                others.sort(key=lambda one: one[3])  # type: ignore[arg-type,return-value]
            else:
                others = [one for one in others if price is None or one[3] >= price]  # type: ignore[operator]
                others.sort(key=lambda one: -one[3])  # type: ignore[operator]
            if not others:
                break
            first = others[0]
            if owner is not None and first[1] == owner:
                found.append(first[0])
                self.waiting.remove(first)
                continue
            taken = min(volume, first[4])  # type: ignore[type-var]
            found.append((first[0], taken))
            volume -= taken  # type: ignore[operator]
            first[4] -= taken  # type: ignore[operator]
            if not first[4]:
                self.waiting.remove(first)
        if volume and price is not None:
            self.waiting.append([number, owner, side, price, volume])
        return found


def taken(number: int, happenings: list[MarketEvent]) -> list[object]:
    found: list[object] = []
    for happening in happenings:
        if isinstance(happening, SimulatedTrade):
            assert happening.taker.id == number
            assert happening.price == happening.maker.price
            found.append((happening.maker.id, happening.volume))
        elif isinstance(happening, SimulatedOrder) and happening.state == "cancel" and happening.id != number:
            found.append(happening.id)
    return found


@given(orders)
def test_orders_meet_by_price_and_then_by_time(given: list[tuple[str | None, Side, int | None, int]]) -> None:
    market, model = Market(itertools.count(1)), Model()
    for number, (owner, side, price, volume) in enumerate(given):
        happenings = market.place(new(number, owner, side, price, volume))
        assert taken(number, happenings) == model.place(number, owner, side, price, volume)
    waiting = {order.id: order.volume for side in DIRECTION for order in market.orders(side)}
    assert waiting == {one[0]: one[4] for one in model.waiting}


@given(orders)
def test_published_levels_are_in_sequence_and_match_the_book(
    given: list[tuple[str | None, Side, int | None, int]],
) -> None:
    market, known, sequence = Market(itertools.count(1)), dict[tuple[Side, int], int](), 0
    for number, (owner, side, price, volume) in enumerate(given):
        for happening in market.place(new(number, owner, side, price, volume)):
            if isinstance(happening, BookLevel):
                sequence += 1
                assert happening.sequence == sequence
                known[happening.side, happening.price] = happening.volume
                bids, asks = (
                    [price for (one, price), volume in known.items() if one == side and volume]
                    for side in ("buy", "sell")
                )
                assert max(bids, default=0) < min(asks, default=1000)
    for side, direction in DIRECTION.items():
        levels = market.levels(side)
        assert levels == sorted(levels, key=lambda level: level[0] * direction)
        assert dict(levels) == {price: volume for (one, price), volume in known.items() if one == side and volume}


def test_what_was_offered_first_is_taken_first() -> None:
    market = Market(itertools.count(1))
    for number in (1, 2):
        market.place(new(number, None, "sell", 100, 5))
    market.place(new(3, None, "buy", 100, 6))
    assert [(order.id, order.volume) for order in market.orders("sell")] == [(2, 4)]


def test_an_order_comes_before_another() -> None:
    cheap, early, late = (new(number, None, "sell", price, 1) for number, price in ((3, 99), (1, 100), (2, 100)))
    assert cheap.comes_before(early)
    assert early.comes_before(late)
    assert not late.comes_before(early)
    assert not early.comes_before(cheap)
    assert not early.comes_before(early)
    assert not new(4, None, "sell", None, 1).comes_before(late)
