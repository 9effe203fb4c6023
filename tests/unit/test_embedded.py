"""What the simulated exchange says goes through the in-process broker as it is."""

from __future__ import annotations

import json

import pytest
from kombu import Connection, Queue

from peatio_ws import embedded
from peatio_ws.broker import exchange
from peatio_ws.events import EXCHANGES
from peatio_ws.settings import EMBEDDED_BROKER
from peatio_ws.simulation import STEP_SECONDS, Simulation


class Enough(Exception):
    """Ends the simulation where it would rest."""


def test_messages_arrive_compact_and_under_their_routing_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    rests, now = list[float](), 1_700_000_000.0

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 8:
            raise Enough

    monkeypatch.setattr(embedded.gevent, "sleep", rest)
    monkeypatch.setattr(embedded.time, "time", lambda: now)
    monkeypatch.setattr(embedded, "Simulation", lambda seed, now: Simulation(7, now))
    with Connection(EMBEDDED_BROKER) as connection:
        queue = Queue("test_embedded", channel=connection.default_channel)
        queue.queue_declare()
        for name in EXCHANGES:
            source = exchange(name, durable=False, embedded=True).bind(connection.default_channel)
            source.declare()
            queue.bind_to(source, routing_key="#")
        try:
            with pytest.raises(Enough):
                embedded.simulate()
            taken = []
            while (message := queue.get(no_ack=True)) is not None:
                info = message.delivery_info
                taken.append((info["exchange"], info["routing_key"], message.headers, message.body))
        finally:
            queue.delete()
    same = Simulation(7, now)
    assert taken == [
        (name, key, headers, json.dumps(body, separators=(",", ":")).encode())
        for _ in range(7)
        for name, key, headers, body in same.step(now)
    ]
    assert set(rests) == {STEP_SECONDS}
