"""What the router and the history use of every kind of private event."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.routing.receiver import Receiver
from tests.unit.samples import on_orderbook, on_ranger, on_trade


def private(delivery: Delivery) -> PrivateEvent:
    event = read(delivery)
    assert isinstance(event, PrivateEvent)
    return event


def recipient(dialect: Dialect, *streams: str) -> Receiver:
    outbox: Any = None
    found = Receiver(outbox, dialect, list(streams))
    found.uid, found.member_id = "A", 7
    return found


@pytest.mark.parametrize(
    ("delivery", "owners"),
    [
        (on_orderbook({"id": 1}, uid="A"), ("A",)),
        (on_orderbook({"id": 1}, member_id=7), (7,)),
        (on_trade({"id": 1}, ask_uid="A", bid_member_id=7), ("A", 7)),
        (on_trade({"id": 1}, ask_uid="A", bid_uid="A"), ("A",)),
        (on_ranger("private.A.order", {"id": 1}), ("A",)),
        (on_ranger("private.A.balance", [1]), ("A",)),
    ],
)
def test_owners_are_the_members_named_by_the_publisher(delivery: Delivery, owners: tuple[Any, ...]) -> None:
    assert private(delivery).owners == owners


@pytest.mark.parametrize("delivery", [on_orderbook({"id": 1}), on_ranger("public.btcusd.trades", {})])
def test_public_events_are_not_private(delivery: Delivery) -> None:
    assert not isinstance(read(delivery), PrivateEvent)


@pytest.mark.parametrize(
    ("delivery", "name", "classic"),
    [
        (on_orderbook({"id": 1}, uid="A"), "order", True),
        (on_trade({"id": 1}, ask_uid="A"), "trade", True),
        (on_ranger("private.A.order", {"id": 1}), "order", True),
        (on_ranger("private.A.trade", {"id": 1}), "trade", True),
        (on_ranger("private.A.order", {"x": 1}), "order", False),
        (on_ranger("private.A.balance", {"id": 1}), "balance", False),
    ],
)
def test_each_protocol_receives_its_own_events(delivery: Delivery, name: str, classic: bool) -> None:
    event = private(delivery)
    assert (event.variant(recipient(Dialect.CLASSIC), True) is not None) is classic
    assert event.variant(recipient(Dialect.RANGER, name), True) is not None
    assert event.variant(recipient(Dialect.RANGER, "other"), True) is None


def test_translation_of_trades_can_be_disabled() -> None:
    ranger, classic = recipient(Dialect.RANGER, "trade"), recipient(Dialect.CLASSIC)
    translated = private(on_trade({"id": 1}, ask_uid="A"))
    assert translated.variant(ranger, False) is None
    assert translated.variant(classic, False) is not None
    assert private(on_ranger("private.A.trade", {"id": 1})).variant(ranger, False) is not None


def test_variant_of_a_trade_is_that_of_the_members_side() -> None:
    trade, both = {"id": 1}, {"ask_uid": "A", "bid_member_id": 7}
    assert private(on_trade(trade, **both)).variant(recipient(Dialect.CLASSIC), True) == (0, 1)
    assert private(on_trade(trade, ask_uid="B", bid_uid="A")).variant(recipient(Dialect.CLASSIC), True) == (1,)


@pytest.mark.parametrize("name", ["order", "trade"])
def test_order_or_trade_without_an_id_is_passed_on_unchanged(name: str) -> None:
    body = b'{"x":1}'
    event = private(on_ranger(f"private.A.{name}", body))
    assert event.variant(recipient(Dialect.CLASSIC), True) is None
    assert event.encode(Dialect.RANGER, (), lambda _number, _owner: None) == b'{"%b":%b}' % (name.encode(), body)
