"""Runs the simulated exchange: publishes its messages to the in-process broker, as Peatio would.

It uses the publisher that is public, so everything after it is the real code. Never started with a real broker. There
is one exchange per process, and one worker: `Settings` allows no second worker with the in-process broker.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import gevent
import gevent.event

from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.errors import ClientError
from peatio_ws.publisher import Publisher
from peatio_ws.simulator.members import MemberOrder, MemberTrade
from peatio_ws.simulator.publications import Publication, PublicTrade, deposit_address
from peatio_ws.simulator.simulation import STEP_SECONDS, Simulation


class SimulatedExchange:
    """A `Simulation` that follows the clock. One greenlet publishes its messages in order."""

    def __init__(self) -> None:
        self._simulation = Simulation(None, time.time())
        self._unpublished: deque[Publication] = deque()
        self._has_unpublished = gevent.event.Event()

    def place(self, uid: str, wanted: Mapping[str, Any]) -> int:
        """Place a member's order, and return its id. Raises InvalidOrder, as `Simulation.place` does."""
        number, messages = self._simulation.place(uid, wanted, time.time())
        self._enqueue(messages)
        return number

    def cancel(self, uid: str, number: object) -> None:
        """Cancel a member's order. Raises ClientError."""
        self._enqueue(self._simulation.cancel(uid, number, time.time()))

    def create_address(self, uid: str, currency: object) -> None:
        """Create a member's address for deposits. Raises ClientError."""
        if currency != "btc":
            raise ClientError("currency: the only currency with addresses is btc")
        self._enqueue([deposit_address(uid, "btc")])

    def orders(self, uid: str) -> list[MemberOrder]:
        """Return a member's latest orders, the last changed one first."""
        return self._simulation.orders(uid)

    def trades(self, uid: str) -> list[MemberTrade]:
        """Return a member's latest trades, the latest first."""
        return self._simulation.trades(uid)

    def public_trades(self) -> list[PublicTrade]:
        """Return the market's latest trades, the latest first."""
        return self._simulation.public_trades()

    def run(self) -> None:
        """Publish what happens, forever."""
        with Publisher(EMBEDDED_BROKER) as publisher:
            next_step = time.monotonic() + STEP_SECONDS
            while True:
                self._has_unpublished.wait(max(0.0, next_step - time.monotonic()))
                self._has_unpublished.clear()
                if time.monotonic() >= next_step:
                    next_step = time.monotonic() + STEP_SECONDS
                    self._unpublished += self._simulation.step(time.time())
                while self._unpublished:
                    message = self._unpublished.popleft()
                    body = json.dumps(message.body, separators=(",", ":")).encode()
                    publisher.publish(message.exchange, message.routing_key, message.headers, body)

    def _enqueue(self, messages: list[Publication]) -> None:
        self._unpublished += messages
        self._has_unpublished.set()
