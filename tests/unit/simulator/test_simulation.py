"""The simulated exchange: its balances add up, and the package reads it like any other Peatio."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peatio_ws.errors import ClientError
from peatio_ws.protocol.exchanges import ORDERBOOK, TRADE
from peatio_ws.simulator.members import OPENING_FUNDS, OPENING_LOTS
from peatio_ws.simulator.publications import CROWD, LOT, TICK, Publication, snapshot, text_of
from peatio_ws.simulator.simulation import (
    BARGAIN,
    FIRST_PRICE,
    LEVELS,
    MEMBER,
    MOST_WAITING,
    ORDER_STEPS,
    REACH,
    SNAPSHOT_STEPS,
    STEP_SECONDS,
    Simulation,
)

SIDES = {"asks": 1, "bids": -1}
BEGIN = 1_700_000_000.5
seeds = given(st.integers(0, 2**32))


def messages(seed: int, steps: int) -> list[Publication]:
    simulation = Simulation(seed, BEGIN)
    return [message for step in range(steps) for message in simulation.step(BEGIN + step * STEP_SECONDS)]


def classic(seed: int, happenings: int) -> list[Publication]:
    """What a member gets: orders and trades."""
    return [message for message in messages(seed, happenings * ORDER_STEPS) if message.exchange in (ORDERBOOK, TRADE)]


def public(seed: int, steps: int, name: str) -> list[Any]:
    return [message.body for message in messages(seed, steps) if message.routing_key == f"public.{name}"]


# ---- the member's orders and trades


@seeds
@settings(max_examples=10)
def test_the_volumes_of_an_order_add_up_with_its_trades(seed: int) -> None:
    traded: dict[int, list[Decimal]] = {}
    states: dict[int, dict[str, Any]] = {}
    for exchange, _, _, body in classic(seed, 60):
        if exchange == TRADE:
            (mine,) = [body[name] for name in ("ask_id", "bid_id") if body[name] in states]  # the other is the crowd's
            traded[mine].append(Decimal(body["volume"]))
            assert Decimal(body["funds"]) == Decimal(body["volume"]) * Decimal(body["price"])
            left = Decimal(states[mine]["origin_volume"]) - sum(traded[mine])
            assert Decimal(states[mine]["volume"]) == left
            assert states[mine]["trades_count"] == len(traded[mine])
        else:
            order = body["order"]
            traded.setdefault(order["id"], [])
            states[order["id"]] = order
            assert 0 <= Decimal(order["volume"]) <= Decimal(order["origin_volume"])
            assert (order["state"] == "done") is (Decimal(order["volume"]) == 0)
    done = [number for number, order in states.items() if order["state"] == "done"]
    assert done
    for number in done:
        assert sum(traded[number]) == Decimal(states[number]["origin_volume"])
        assert min(traded[number]) > 0


@seeds
@settings(max_examples=10)
def test_one_order_is_open_at_a_time_and_no_id_comes_twice(seed: int) -> None:
    open_one, orders, trades = None, set(), set()
    for exchange, _, _, body in classic(seed, 60):
        if exchange == TRADE:
            assert body["id"] not in trades | orders
            trades.add(body["id"])
        elif body["order"]["id"] != open_one:
            assert open_one is None
            assert body["order"]["id"] not in trades | orders
            orders.add(open_one := body["order"]["id"])
        if exchange == ORDERBOOK and body["order"]["state"] == "done":
            open_one = None


@seeds
@settings(max_examples=5)
def test_ids_are_greater_than_those_before_a_restart(seed: int) -> None:
    def ids(begin: float, steps: int) -> list[int]:
        simulation = Simulation(seed, begin)
        number, messages = simulation.place("IDANN", LIMIT, begin)
        for step in range(1, steps):
            messages += simulation.step(begin + step * STEP_SECONDS)
        trades = [message.body["trades"][0]["tid"] for message in messages if message.routing_key.endswith(".trades")]
        return [number, *trades]

    steps = 240
    before = ids(BEGIN, steps)
    after = ids(BEGIN + steps * STEP_SECONDS, 40)
    assert len(before) > 10
    assert max(before) < min(after)
    assert max(after) < 2**53, "JavaScript counts no further"


# ---- the book


class Replica:
    """A book as a client keeps it: from a snapshot and what came after it."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.sequence: int = snapshot["sequence"]
        self.levels = {side: dict(snapshot[side]) for side in SIDES}
        for side, direction in SIDES.items():
            prices = [Decimal(price) * direction for price, _ in snapshot[side]]
            assert prices == sorted(set(prices))

    def apply(self, change: dict[str, Any]) -> None:
        assert change["sequence"] == self.sequence + 1
        self.sequence += 1
        ((side, (price, volume)),) = [(key, value) for key, value in change.items() if key != "sequence"]
        if Decimal(volume):
            self.levels[side][price] = volume
        else:
            del self.levels[side][price]

    @property
    def crossed(self) -> bool:
        asks, bids = ([Decimal(price) for price in self.levels[side]] for side in ("asks", "bids"))
        return min(asks, default=Decimal("inf")) <= max(bids, default=Decimal("-inf"))


def replicas(seed: int, steps: int) -> Iterator[tuple[Simulation, Replica]]:
    """The simulation and a client's book after each step; all that came between is checked."""
    simulation, replica = Simulation(seed, BEGIN), None
    for step in range(steps):
        for message in simulation.step(BEGIN + step * STEP_SECONDS):
            if message.routing_key == "public.btcusd.ob-snap":
                fresh = Replica(message.body)
                assert replica is None or (replica.levels, replica.sequence) == (fresh.levels, fresh.sequence)
                replica = replica or fresh
            elif message.routing_key == "public.btcusd.ob-inc":
                assert replica is not None, "a change before there is a book"
                replica.apply(message.body)
            assert replica is not None
            assert not replica.crossed
        assert replica is not None
        yield simulation, replica


@seeds
@settings(max_examples=6)
def test_followed_book_equals_the_simulations_and_is_never_crossed(seed: int) -> None:
    for simulation, replica in replicas(seed, 2 * SNAPSHOT_STEPS + 2):
        own = Replica(snapshot(simulation.market).body)
        assert (own.levels, own.sequence) == (replica.levels, replica.sequence)
        for levels in own.levels.values():
            assert LEVELS <= len(levels) <= LEVELS + 1  # the member's order


def ticks(price: str) -> int:
    return int(Decimal(price) * 10)


def test_the_price_does_not_run_away() -> None:
    simulation = Simulation(1, BEGIN)
    for step in range(5_000):
        simulation.step(BEGIN + step * STEP_SECONDS)
        best = simulation.market.best("sell")
        assert best is not None
        assert abs(best - FIRST_PRICE) < FIRST_PRICE / 10


def test_a_snapshot_comes_first_and_then_every_minute() -> None:
    at = [number for number, message in enumerate(messages(1, 1)) if message.routing_key.endswith("ob-snap")]
    assert at == [0]
    assert len(public(1, 10 * SNAPSHOT_STEPS, "btcusd.ob-snap")) == 10
    assert SNAPSHOT_STEPS * STEP_SECONDS == 60


@seeds
@settings(max_examples=10)
def test_the_book_is_lively(seed: int) -> None:
    a_minute = public(seed, SNAPSHOT_STEPS, "btcusd.ob-inc")
    assert 2 * 60 <= len(a_minute) <= 20 * 60


# ---- orders of people

LIMIT = {"market": "btcusd", "side": "buy", "ord_type": "limit", "price": "9000.5", "volume": "0.25"}
uids = st.sampled_from([MEMBER, "IDANN", "IDBOB"])
wishes = st.fixed_dictionaries(
    {"market": st.just("btcusd"), "side": st.sampled_from(["sell", "buy"])},
    optional={
        "price": st.integers(FIRST_PRICE - 2 * REACH, FIRST_PRICE + 2 * REACH).map(text_of),
        "volume": st.integers(1, 200_000).map(lambda lots: str(lots * LOT)),
    },
).map(lambda wish: {"volume": "1", "ord_type": "limit" if "price" in wish else "market", **wish})
deeds = st.lists(st.tuples(uids, st.one_of(st.none(), st.integers(0, 5), wishes)), max_size=40)
"""Place an order, cancel one, or let a step pass."""


class Ledger:
    """What can be known of a market from what it publishes; all that comes is checked against it."""

    def __init__(self, simulation: Simulation) -> None:
        self.replica: Replica | None = Replica(snapshot(simulation.market).body)
        self.orders: dict[int, dict[str, Any]] = {}
        self.owners: dict[int, str] = {}
        self.traded: dict[int, list[tuple[Decimal, Decimal]]] = {}
        self.trades: set[int] = set()
        self.balances: dict[str, dict[str, list[str]]] = {}

    def take(self, messages: list[Publication]) -> None:
        for exchange, key, headers, body in messages:
            if exchange == ORDERBOOK:
                self._order(headers["uid"], body["order"])
            elif exchange == TRADE:
                self._trade(headers, body)
            elif key.endswith(".balances"):
                self.balances[key.split(".")[1]] = body
            elif key == "public.btcusd.ob-inc":
                assert self.replica is not None
                self.replica.apply(body)
                assert not self.replica.crossed

    def _order(self, uid: str, order: dict[str, Any]) -> None:
        number = order["id"]
        before = self.orders.get(number)
        if before is None:
            assert (order["state"], order["volume"]) == ("wait", order["origin_volume"])
        else:
            assert before["state"] == "wait", "an order that had ended changed"
            assert self.owners[number] == uid
            assert order["origin_volume"] == before["origin_volume"]
        assert (order["state"] == "done") is (Decimal(order["volume"]) == 0)
        self.orders[number], self.owners[number] = order, uid
        self.traded.setdefault(number, [])

    def _trade(self, headers: Any, trade: dict[str, Any]) -> None:
        assert trade["id"] not in self.trades
        self.trades.add(trade["id"])
        price, volume = Decimal(trade["price"]), Decimal(trade["volume"])
        assert volume > 0
        assert Decimal(trade["funds"]) == price * volume
        assert headers["ask_uid"] != headers["bid_uid"], "a member traded with itself"
        for side, better in (("ask", 1), ("bid", -1)):
            number = trade[f"{side}_id"]
            if headers[f"{side}_uid"] == CROWD:
                assert number not in self.orders
                continue
            order = self.orders[number]
            assert self.owners[number] == headers[f"{side}_uid"]
            assert order["side"] == {"ask": "sell", "bid": "buy"}[side]
            if order["price"] is not None:
                assert (price - Decimal(order["price"])) * better >= 0, "worse than the order's limit"
            self.traded[number].append((price, volume))
            done = sum(part for _, part in self.traded[number])
            assert Decimal(order["volume"]) == Decimal(order["origin_volume"]) - done
            assert order["trades_count"] == len(self.traded[number])
            funds = sum(one * part for one, part in self.traded[number])
            assert abs(Decimal(order["avg_price"]) - funds / done) <= Decimal("0.00005")

    def check_balances(self) -> None:
        """What each member has now, from all its orders and trades."""
        for uid, shown in self.balances.items():
            (btc, btc_locked), (usd, usd_locked) = (map(Decimal, shown[name]) for name in ("btc", "usd"))
            own, lots, funds = [number for number, owner in self.owners.items() if owner == uid], Decimal(0), Decimal(0)
            locked = {"sell": Decimal(0), "buy": Decimal(0)}
            for order in map(self.orders.__getitem__, own):
                sign = 1 if order["side"] == "buy" else -1
                lots += sign * sum(part for _, part in self.traded[order["id"]])
                funds -= sign * sum(price * part for price, part in self.traded[order["id"]])
                if order["state"] == "wait":
                    price = Decimal(order["price"]) if order["side"] == "buy" else 1
                    locked[order["side"]] += Decimal(order["volume"]) * price
            assert (btc_locked, usd_locked) == (locked["sell"], locked["buy"])
            assert (btc + btc_locked, usd + usd_locked) == (
                OPENING_LOTS * LOT + lots,
                OPENING_FUNDS * LOT * TICK + funds,
            )


@given(seed=st.integers(0, 2**32), deeds=deeds)
@settings(max_examples=100)
def test_volumes_add_up_and_no_book_is_ever_crossed(
    seed: int, deeds: list[tuple[str, int | dict[str, Any] | None]]
) -> None:
    simulation, now = Simulation(seed, BEGIN), BEGIN
    ledger, placed = Ledger(simulation), dict[str, list[int]]()
    for uid, deed in deeds:
        now += STEP_SECONDS
        if deed is None:
            ledger.take(simulation.step(now))
        elif isinstance(deed, dict):
            number, told = simulation.place(uid, deed, now)
            ledger.take(told)
            placed.setdefault(uid, []).append(number)
            # What is left of a limit order waits; a market order has ended.
            ended = ledger.orders[number]["state"] != "wait"
            assert ended or ledger.orders[number]["price"] is not None
        elif placed.get(uid):
            number = placed[uid][deed % len(placed[uid])]
            if ledger.orders[number]["state"] == "wait":
                ledger.take(simulation.cancel(uid, number, now))
                assert ledger.orders[number]["state"] == "cancel"
            else:
                with pytest.raises(ClientError):
                    simulation.cancel(uid, number, now)
    ledger.check_balances()
    own = Replica(snapshot(simulation.market).body)
    assert ledger.replica is not None
    assert (own.levels, own.sequence) == (ledger.replica.levels, ledger.replica.sequence)


def test_order_at_the_best_price_is_filled_and_the_rest_waits() -> None:
    simulation = Simulation(3, BEGIN)
    ledger = Ledger(simulation)
    ask, offered = snapshot(simulation.market).body["asks"][0]
    wanted = {**LIMIT, "price": ask, "volume": str(Decimal(offered) + 1)}
    number, told = simulation.place("IDANN", wanted, BEGIN)
    ledger.take(told)
    assert ledger.traded[number] == [(Decimal(ask), Decimal(offered))]
    assert (ledger.orders[number]["state"], ledger.orders[number]["volume"]) == ("wait", "1.0")
    assert snapshot(simulation.market).body["bids"][0] == [ask, "1.0"]
    ledger.take(simulation.cancel("IDANN", number, BEGIN))
    assert snapshot(simulation.market).body["bids"][0] != [ask, "1.0"]


def test_market_order_takes_all_prices_and_the_rest_is_cancelled() -> None:
    simulation = Simulation(3, BEGIN)
    ledger = Ledger(simulation)
    asks = snapshot(simulation.market).body["asks"]
    wanted = {"market": "btcusd", "side": "buy", "ord_type": "market", "volume": 1000}
    number, told = simulation.place("IDANN", wanted, BEGIN)
    ledger.take(told)
    assert ledger.traded[number] == [(Decimal(price), Decimal(volume)) for price, volume in asks]
    assert ledger.orders[number]["state"] == "cancel"
    assert snapshot(simulation.market).body["asks"] == []
    ledger.take(simulation.step(BEGIN))
    assert len(snapshot(simulation.market).body["asks"]) >= LEVELS, "the crowd did not come back"


def test_order_over_the_balance_is_refused() -> None:
    simulation = Simulation(3, BEGIN)
    sale = {**LIMIT, "side": "sell", "price": "90000", "volume": "1000"}
    for _ in range(10):
        simulation.place("IDANN", sale, BEGIN)
    with pytest.raises(ClientError, match="your balance of btc is too low"):
        simulation.place("IDANN", {**sale, "volume": "0.0001"}, BEGIN)
    simulation.place("IDANN", {**LIMIT, "price": "900000", "volume": "10"}, BEGIN)
    with pytest.raises(ClientError, match="your balance of usd is too low"):
        simulation.place("IDBOB", {**LIMIT, "price": "1000000", "volume": "100.0001"}, BEGIN)
    assert len(simulation.orders("IDANN")) == 11
    assert simulation.orders("IDBOB") == []


def test_member_does_not_trade_with_itself() -> None:
    simulation = Simulation(3, BEGIN)
    ledger = Ledger(simulation)
    best = Decimal(snapshot(simulation.market).body["asks"][0][0])
    between = {**LIMIT, "price": str(best - Decimal("0.1"))}
    mine, told = simulation.place("IDANN", {**between, "side": "sell"}, BEGIN)
    ledger.take(told)
    number, told = simulation.place("IDANN", between, BEGIN)
    ledger.take(told)
    assert ledger.orders[mine]["state"] == "cancel"
    assert ledger.orders[number]["state"] == "wait"
    assert not ledger.trades


def test_what_is_offered_far_below_the_price_is_taken_soon() -> None:
    simulation = Simulation(3, BEGIN)
    ledger = Ledger(simulation)
    cheap = {**LIMIT, "side": "sell", "price": text_of(FIRST_PRICE - REACH - BARGAIN), "volume": 1000}
    number, told = simulation.place("IDANN", cheap, BEGIN)
    ledger.take(told)
    for step in range(2 * SNAPSHOT_STEPS):
        ledger.take(simulation.step(BEGIN + step * STEP_SECONDS))
        if ledger.orders[number]["state"] == "done":
            return
    raise AssertionError(f"{ledger.orders[number]['volume']} are left")


@pytest.mark.parametrize("changed", [{"side": "ask"}, {"price": "9000.55"}])
def test_invalid_order_is_refused_and_changes_nothing(changed: dict[str, Any]) -> None:
    simulation = Simulation(3, BEGIN)
    before = snapshot(simulation.market)
    with pytest.raises(ClientError):
        simulation.place("IDANN", {**LIMIT, **changed}, BEGIN)
    assert snapshot(simulation.market) == before


def test_waiting_orders_of_a_member_are_limited() -> None:
    simulation = Simulation(3, BEGIN)
    numbers = [simulation.place("IDANN", LIMIT, BEGIN)[0] for _ in range(MOST_WAITING)]
    with pytest.raises(ClientError, match=f"^{MOST_WAITING} of your orders are waiting already; cancel one first$"):
        simulation.place("IDANN", LIMIT, BEGIN)
    simulation.place("IDBOB", LIMIT, BEGIN)
    simulation.cancel("IDANN", numbers[0], BEGIN)
    simulation.place("IDANN", LIMIT, BEGIN)


@pytest.mark.parametrize("number", [None, "1", 1.0, 1, [], 10**30])
def test_only_ones_own_orders_are_cancelled(number: object) -> None:
    simulation = Simulation(3, BEGIN)
    anns, _ = simulation.place("IDANN", LIMIT, BEGIN)
    crowds = next(simulation.market.orders("sell")).id
    for one in (number, anns, crowds):
        with pytest.raises(ClientError, match="you have no waiting order with this id"):
            simulation.cancel("IDBOB", one, BEGIN)
    simulation.cancel("IDANN", anns, BEGIN)


@seeds
@settings(max_examples=20)
def test_a_trade_is_near_the_book(seed: int) -> None:
    simulation = Simulation(seed, BEGIN)
    for step in range(SNAPSHOT_STEPS):
        for message in simulation.step(BEGIN + step * STEP_SECONDS):
            if message.exchange == TRADE:
                book = snapshot(simulation.market).body
                for side in SIDES:
                    assert abs(ticks(book[side][0][0]) - ticks(message.body["price"])) < REACH


@seeds
@settings(max_examples=20)
def test_the_same_seed_is_the_same_market(seed: int) -> None:
    assert messages(seed, 60) == messages(seed, 60)


def test_trades_of_the_market_are_kept_the_latest_first() -> None:
    simulation = Simulation(3, BEGIN)
    published = [message.body for step in range(400) for message in simulation.step(BEGIN + step * STEP_SECONDS)]
    trades = [row for body in published if "trades" in body for row in body["trades"]]
    kept = [(one.trade.id, int(one.created)) for one in simulation.public_trades()]
    assert kept == [(row["tid"], row["date"]) for row in reversed(trades)]
    assert len(kept) > 10
