"""Publications of the simulated exchange pass through the in-process broker unchanged and in order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import gevent.event
import pytest
from kombu import Connection, Queue

from peatio_ws.amqp.connection import exchange
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.protocol.exchanges import EXCHANGES
from peatio_ws.simulator import exchange as embedded
from peatio_ws.simulator.exchange import SimulatedExchange
from peatio_ws.simulator.publications import Publication
from peatio_ws.simulator.simulation import STEP_SECONDS, Simulation

ORDER = {"market": "btcusd", "side": "sell", "price": "9150.0", "volume": "1"}


class Enough(Exception):
    """Ends the exchange where it would rest."""


class Clock:
    """Replaces gevent's Event and the time: a pause passes at once, and something may happen in it."""

    now = 1_700_000_000.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rests, self.happens = list[float](), dict[int, Any]()
        monkeypatch.setattr(gevent.event, "Event", lambda: self)
        monkeypatch.setattr(embedded.time, "time", lambda: self.now)
        monkeypatch.setattr(embedded.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(embedded, "Simulation", lambda seed, now: Simulation(7, now))

    def wait(self, seconds: float) -> None:
        self.rests.append(seconds)
        if len(self.rests) == 8:
            raise Enough
        if len(self.rests) in self.happens:
            self.happens[len(self.rests)]()  # wakes it early
        else:
            self.now += seconds

    def clear(self) -> None:
        pass

    set = clear


def published(run: Any) -> list[tuple[str, str, Any, bytes]]:
    """Return what a queue bound to everything receives, until it is `Enough`."""
    with Connection(EMBEDDED_BROKER) as connection:
        queue = Queue("test_embedded", channel=connection.default_channel)
        queue.queue_declare()
        for name in EXCHANGES:
            source = exchange(name, durable=False, embedded=True).bind(connection.default_channel)
            source.declare()
            queue.bind_to(source, routing_key="#")
        try:
            with pytest.raises(Enough):
                run()
            taken = []
            while (message := queue.get(no_ack=True)) is not None:
                info = message.delivery_info
                taken.append((info["exchange"], info["routing_key"], message.headers, message.body))
        finally:
            queue.delete()
    return taken


def compact(messages: Iterable[Publication]) -> list[tuple[str, str, Any, bytes]]:
    return [
        (name, key, headers, json.dumps(body, separators=(",", ":")).encode()) for name, key, headers, body in messages
    ]


def test_messages_arrive_compact_and_under_their_routing_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, began = Clock(monkeypatch), Clock.now
    taken = published(SimulatedExchange().run)
    same = Simulation(7, began)
    steps = [same.step(began + number * STEP_SECONDS) for number in range(1, 8)]
    assert taken == compact(message for step in steps for message in step)
    assert set(clock.rests) == {STEP_SECONDS}


def test_member_actions_between_steps_are_published_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, began = Clock(monkeypatch), Clock.now
    exchange = SimulatedExchange()
    numbers = list[int]()
    clock.happens[3] = lambda: numbers.append(exchange.place("IDANN", ORDER))
    clock.happens[4] = lambda: exchange.cancel("IDANN", numbers[0])
    taken = published(exchange.run)
    same = Simulation(7, began)
    messages = [*same.step(began + STEP_SECONDS), *same.step(began + 2 * STEP_SECONDS)]
    number, placed = same.place("IDANN", ORDER, began + 2 * STEP_SECONDS)
    messages += [*placed, *same.cancel("IDANN", number, began + 2 * STEP_SECONDS)]
    messages += [message for step in range(3, 6) for message in same.step(began + step * STEP_SECONDS)]
    assert numbers == [number]
    assert taken == compact(messages)
