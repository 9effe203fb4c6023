"""Counters and gauges for Prometheus. No label that a client can choose.

With gunicorn `PROMETHEUS_MULTIPROC_DIR` is set before this module is imported, and the figures of all workers are told
together by whichever is asked.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY

connections = Gauge("peatio_ws_connections", "Open connections", ["protocol"], multiprocess_mode="livesum")
authentications = Counter("peatio_ws_authentications", "Tokens shown", ["outcome"])
deliveries = Counter("peatio_ws_deliveries", "Messages of the broker, by what became of them", ["exchange", "outcome"])
events = Counter("peatio_ws_events", "Events that were read, by what became of them", ["outcome"])
book_holes = Counter("peatio_ws_book_holes", "Times that increments of a book were missing")
replays = Counter("peatio_ws_replays", "Clients that came back, by whether all they missed was there", ["outcome"])
handler_failures = Counter("peatio_ws_handler_failures", "Times that a handler raised something", ["handler"])
closes = Counter("peatio_ws_closes", "Connections that ended, by close code", ["code"])
broker_connected = Gauge("peatio_ws_broker_connected", "Workers that hear the broker", multiprocess_mode="livesum")


def text() -> bytes:
    """All figures in Prometheus' text format, of all workers where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
