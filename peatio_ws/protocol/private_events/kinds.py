"""The kinds of private events that have a text of their own, by the name in their routing key. Pure."""

from __future__ import annotations

from typing import Any, Final

from peatio_ws.protocol.private_events import order, trade
from peatio_ws.protocol.private_events.base import BodyReader

PRIVATE_EVENTS: Final[dict[str, BodyReader[Any]]] = {
    "order": order.FROM_RANGER,
    "trade": trade.FROM_RANGER,
}
"""How `private.<uid>.<name>` is read, by name. All others, and those for which the reader returns None, are passed on
as they are (`MemberEvent`)."""
