"""The simulated exchange at work: what it says is published to the in-process broker, as Peatio would.

By the publisher that everybody uses, so that all after it is the real thing. Never started against a real broker.
"""

from __future__ import annotations

import json
import time

import gevent

from peatio_ws.publisher import Publisher
from peatio_ws.settings import EMBEDDED_BROKER
from peatio_ws.simulation import STEP_SECONDS, Simulation


def simulate() -> None:
    """Publish a `Simulation` to the in-process broker, for ever."""
    simulation = Simulation(None, time.time())
    with Publisher(EMBEDDED_BROKER) as publisher:
        while True:
            gevent.sleep(STEP_SECONDS)
            for message in simulation.step(time.time()):
                body = json.dumps(message.body, separators=(",", ":")).encode()
                publisher.publish(message.exchange, message.routing_key, message.headers, body)
