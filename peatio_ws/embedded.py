"""The simulated exchange of `make run`: a member's orders are placed, matched and traded, and published as Peatio does.

It publishes to the in-process broker over kombu, so that everything after it is the real thing. Never started against a
real broker.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import gevent

from peatio_ws.consumer import exchange, open_connection
from peatio_ws.events import EXCHANGES, ORDERBOOK, TRADE
from peatio_ws.settings import EMBEDDED_BROKER

MEMBER: Final = "IDDEMO000001"
"""uid of the member whose orders are simulated."""
MEMBER_ID: Final = 1001
OTHER_ID: Final = 2002
STEP_SECONDS: Final = 1.5


class Simulation:
    """A market of one pair: a price that walks, and orders of one member that are filled piece by piece."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)
        self._price = Decimal("9120.0")
        self._next_id = int(time.time())
        self._order: dict[str, Any] | None = None

    def step(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """What happens next, as messages: exchange, headers, body."""
        self._price += Decimal(self._random.randrange(-25, 26)) / 10
        if self._order is None:
            self._order = self._place()
            return [self._publish_order()]
        return self._fill()

    def _number(self) -> int:
        self._next_id += 1
        return self._next_id

    def _place(self) -> dict[str, Any]:
        volume = Decimal(self._random.randrange(5, 30)) / 10
        return {
            "id": self._number(),
            "side": self._random.choice(["sell", "buy"]),
            "ord_type": "limit",
            "price": str(self._price),
            "avg_price": "0.0",
            "state": "wait",
            "market_id": "btcusd",
            "created_at": _now(),
            "origin_volume": str(volume),
            "volume": str(volume),
            "trades_count": 0,
            "trades": [],
            "member_id": MEMBER_ID,
        }

    def _fill(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        order = self._order
        assert order is not None
        left = Decimal(order["volume"])
        amount = min(left, Decimal(self._random.randrange(1, 12)) / 10)
        order |= {"volume": str(left - amount), "trades_count": order["trades_count"] + 1, "avg_price": order["price"]}
        if not left - amount:
            order["state"] = "done"
        sides = ("ask", "bid") if order["side"] == "sell" else ("bid", "ask")
        trade = {
            "id": self._number(),
            "price": order["price"],
            "volume": str(amount),
            "funds": str(amount * Decimal(order["price"])),
            "market_id": "btcusd",
            "created_at": _now(),
            f"{sides[0]}_id": order["id"],
            f"{sides[1]}_id": self._number(),
        }
        headers = {"market": "btcusd", f"{sides[0]}_member_id": MEMBER_ID, f"{sides[1]}_member_id": OTHER_ID}
        messages = [self._publish_order(), (TRADE, headers, trade)]
        if order["state"] == "done":
            self._order = None
        return messages

    def _publish_order(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        assert self._order is not None
        return (ORDERBOOK, {}, {"action": "update", "order": dict(self._order)})


def simulate() -> None:
    """Publish a `Simulation` to the in-process broker, for ever."""
    simulation = Simulation()
    with open_connection(EMBEDDED_BROKER) as connection:
        producer = connection.Producer()
        exchanges = {name: exchange(name, durable=False, embedded=True) for name in EXCHANGES}
        while True:
            gevent.sleep(STEP_SECONDS)
            for name, headers, body in simulation.step():
                producer.publish(body, exchange=exchanges[name], headers=headers, declare=[exchanges[name]])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
