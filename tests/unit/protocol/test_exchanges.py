"""Peatio's exchanges, and deliveries from them."""

from __future__ import annotations

import pytest

from peatio_ws.protocol.exchanges import EXCHANGES, Delivery


def test_exchanges_match_peatio() -> None:
    assert EXCHANGES == {"peatio.orderbook": "fanout", "peatio.trade": "headers", "peatio.events.ranger": "topic"}


def test_a_delivery_does_not_change_and_equals_a_redelivery() -> None:
    delivery = Delivery("peatio.trade", "", {"uid": "A"}, b"{}", 7)
    assert delivery == Delivery("peatio.trade", "", {"uid": "A"}, b"{}", 7)
    assert delivery != Delivery("peatio.trade", "", {"uid": "A"}, b"{}", 8)
    with pytest.raises(AttributeError):
        delivery.offset = 8  # type: ignore[misc]


def test_delivery_from_a_classic_queue_has_no_offset() -> None:
    assert Delivery("peatio.trade", "", {}, b"{}").offset is None
