"""Messages that are dropped, and why."""

from __future__ import annotations

from peatio_ws.errors import BadDelivery, DeliveryFault


def test_text_and_remedy_make_one_line_of_advice() -> None:
    advice = BadDelivery(DeliveryFault.ROUTING_KEY).advice
    assert advice.startswith("the routing key is invalid; use private.UID.EVENT, ")
    assert BadDelivery(DeliveryFault.JSON).advice == "the body is not JSON"


def test_only_deliveries_without_an_owner_are_not_logged() -> None:
    assert [fault for fault in DeliveryFault if BadDelivery(fault).level is None] == [DeliveryFault.NO_OWNER]
