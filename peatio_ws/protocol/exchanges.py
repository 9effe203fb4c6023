"""Peatio's exchanges, and a message that one of them delivered.

Pure. `deliveries.py` reads a delivery into an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

ORDERBOOK: Final = "peatio.orderbook"
TRADE: Final = "peatio.trade"
RANGER: Final = "peatio.events.ranger"
EXCHANGES: Final = {ORDERBOOK: "fanout", TRADE: "headers", RANGER: "topic"}
"""Peatio's exchanges and their types."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message as the broker delivered it.

    Attributes:
        offset: its position in the stream from which it was read; None from any other queue.
    """

    exchange: str
    routing_key: str
    headers: Mapping[str, Any]
    body: bytes
    offset: int | None = None
