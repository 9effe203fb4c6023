"""Which events are for a receiver."""

from __future__ import annotations

from typing import Any

from peatio_ws.protocol.encoding import Dialect
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.seen_trades import Key


def receiver(dialect: Dialect, *streams: str) -> Receiver:
    outbox: Any = None
    return Receiver(outbox, dialect, list(streams))


def test_its_keys_are_the_names_of_its_member() -> None:
    one = receiver(Dialect.CLASSIC)
    assert one.keys == ()
    one.admit("IDANN")
    one.member_id = 0
    assert one.keys == ("IDANN", 0)


def test_a_classic_connection_receives_orders_and_trades() -> None:
    one = receiver(Dialect.CLASSIC, "balance")
    assert [one.wants(stream) for stream in ("order", "trade", "balance")] == [True, True, False]


def test_a_ranger_connection_receives_what_it_subscribed_to() -> None:
    one = receiver(Dialect.RANGER, "order", "balance")
    assert [one.wants(stream) for stream in ("order", "trade", "balance")] == [True, False, True]


def test_a_trade_is_new_once() -> None:
    one, key = receiver(Dialect.CLASSIC), Key(b"7", b'"btcusd"')
    assert [one.is_new_trade(key, now) for now in (0.0, 1.0)] == [True, False]
