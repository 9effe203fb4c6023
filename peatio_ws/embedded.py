"""The simulated exchange at work: what it says is published to the in-process broker, as Peatio would.

Over kombu, so that everything after it is the real thing. Never started against a real broker.
"""

from __future__ import annotations

import json
import time

import gevent

from peatio_ws.broker import exchange, open_connection
from peatio_ws.events import EXCHANGES
from peatio_ws.settings import EMBEDDED_BROKER
from peatio_ws.simulation import STEP_SECONDS, Simulation


def simulate() -> None:
    """Publish a `Simulation` to the in-process broker, for ever."""
    simulation = Simulation(None, time.time())
    with open_connection(EMBEDDED_BROKER) as connection:
        producer = connection.Producer()
        exchanges = {name: exchange(name, durable=False, embedded=True) for name in EXCHANGES}
        while True:
            gevent.sleep(STEP_SECONDS)
            for message in simulation.step(time.time()):
                producer.publish(
                    json.dumps(message.body, separators=(",", ":")).encode(),
                    exchange=exchanges[message.exchange],
                    routing_key=message.routing_key,
                    headers=dict(message.headers),
                    declare=[exchanges[message.exchange]],
                    content_type="application/octet-stream",
                    content_encoding="binary",
                )
