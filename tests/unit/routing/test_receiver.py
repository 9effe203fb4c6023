"""A connection from the router's point of view."""

from __future__ import annotations

from typing import Any

from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.private_events.base import TradeKey
from peatio_ws.routing.receiver import Receiver


def receiver(dialect: Dialect, *streams: str) -> Receiver:
    outbox: Any = None
    return Receiver(outbox, dialect, list(streams))


def test_keys_are_the_names_of_the_member() -> None:
    one = receiver(Dialect.CLASSIC)
    assert one.keys == ()
    one.admit("IDANN")
    one.member_id = 0
    assert one.keys == ("IDANN", 0)


def test_trade_is_new_only_once() -> None:
    one, key = receiver(Dialect.CLASSIC), TradeKey(b"7", b'"btcusd"')
    assert [one.is_new_trade(key, now) for now in (0.0, 1.0)] == [True, False]
