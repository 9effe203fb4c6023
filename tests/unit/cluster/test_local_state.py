"""Orders that a worker remembers, and the shared state without Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster import local_state
from peatio_ws.cluster.commands import Answer, Command
from peatio_ws.cluster.local_state import ORDERS_KEPT, RecentOrders, SharedState, open_shared_state
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.private_events.order import Order
from tests.unit.samples import channels, on_orderbook


def order(number: Any, owner: str | int = "A", state: str = "wait") -> Order:
    headers = {"uid": owner} if isinstance(owner, str) else {"member_id": owner}
    event = read(on_orderbook({"id": number, "state": state}, **headers))
    assert isinstance(event, Order)
    return event


def state_of(orders: RecentOrders, number: bytes, owner: str | int = "A") -> Any:
    seen = orders.recall(number, owner)
    return None if seen is None else json.loads(seen)["state"]


def test_an_order_is_recalled_as_last_seen() -> None:
    orders = RecentOrders()
    orders.remember(order(1, state="wait"))
    orders.remember(order(1, state="done"))
    assert state_of(orders, b"1") == "done"
    assert state_of(orders, b"2") is None


@pytest.mark.parametrize(("seen", "asked"), [(61, b'"61"'), ("61", b"61"), ("61", b'"61"'), (61, b"61")])
def test_order_ids_as_number_and_as_text_are_equal(seen: Any, asked: bytes) -> None:
    orders = RecentOrders()
    orders.remember(order(seen))
    assert state_of(orders, asked) == "wait"


@pytest.mark.parametrize(
    ("owner", "asks", "shown"),
    [
        ("A", "A", True),
        ("A", "B", False),
        (1, 1, True),
        (1, 2, False),
        ("4", "5", False),
        # A uid and a member id cannot be compared. The trade itself assigns the order to its seller.
        ("A", 1, True),
        (1, "A", True),
    ],
)
def test_order_of_another_owner_is_not_recalled(owner: str | int, asks: str | int, shown: bool) -> None:
    orders = RecentOrders()
    orders.remember(order(1, owner))
    assert (state_of(orders, b"1", asks) == "wait") is shown


def test_own_orders_take_precedence_over_other_workers() -> None:
    orders = RecentOrders()
    orders.remember(order(1, state="done"))
    orders.remember_older(b"1", "A", b'{"state":"wait"}')
    orders.remember_older(b"2", "A", b'{"state":"wait"}')
    assert (state_of(orders, b"1"), state_of(orders, b"2")) == ("done", "wait")
    orders.remember(order(2, state="done"))
    assert state_of(orders, b"2") == "done"


def test_order_that_is_seen_again_is_kept_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_state, "ORDERS_KEPT", 4)
    orders = RecentOrders()
    for number in (1, 2, 1, 3, 4):
        orders.remember(order(number))
    assert [number for number in (1, 2, 3, 4) if orders.recall(b"%d" % number, "A")] == [1, 3, 4]


@given(st.lists(st.integers(0, 9), min_size=5, max_size=40), st.integers(2, 10))
def test_last_orders_are_recalled_within_the_limit(numbers: list[int], kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_state, "ORDERS_KEPT", kept)
        orders = RecentOrders()
        for at, number in enumerate(numbers):
            orders.remember(order(number, state=str(at)))
        known = {number for number in range(10) if orders.recall(b"%d" % number, "A")}
        latest = {number: str(at) for at, number in enumerate(numbers)}
        assert len(known) <= kept
        assert all(state_of(orders, b"%d" % number) == latest[number] for number in known)
        assert known >= set(sorted(latest, key=lambda number: int(latest[number]))[-(kept // 2) :])


def test_memory_is_bounded() -> None:
    orders, one = RecentOrders(), order(1)
    for number in range(ORDERS_KEPT + 10):
        orders.remember_older(b"%d" % number, "A", one.id)
    assert orders.recall(b"9", "A") is None
    assert orders.recall(b"%d" % (ORDERS_KEPT // 2 + 10), "A") is not None


def test_without_redis_workers_share_nothing() -> None:
    alone = without_redis()
    assert type(alone) is SharedState
    books = channels(1)
    alone.start(books, EmptyWorker())
    alone.wait()
    alone.load()
    alone.remember(order(1))
    assert alone.recall(b"1", "A") == as_recalled(order(1))
    lookup = alone.look_up("A")
    assert lookup.known
    assert lookup.number is None
    alone.forget_lookup(lookup)
    assert without_redis().recall(b"1", "A") is None
    alone.stop()


def without_redis() -> SharedState:
    return open_shared_state(None, Revocations(), Lockout(0))


class EmptyWorker:
    """A worker without clients."""

    def execute(self, command: Command) -> Iterator[Answer]:
        return iter(())

    def close_revoked(self) -> int:
        return 0


def as_recalled(seen: Order) -> bytes | None:
    orders = RecentOrders()
    orders.remember(seen)
    return orders.recall(seen.id, seen.owners[0])


def test_without_redis_nothing_is_published() -> None:
    assert SharedState(Revocations(), Lockout(0)).publish("channel", b"message") is None
