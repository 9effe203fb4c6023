"""Once a second, how a worker stands and what it has counted, to the metrics."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Final, TypeVar

import gevent

from peatio_ws.monitoring import limits, log_writer, metric_files, metrics
from peatio_ws.monitoring.counters import STATES, Spread, Standing
from peatio_ws.monitoring.limits import Limit
from peatio_ws.orderbook.sync import State
from peatio_ws.protocol.events import EXCHANGES
from peatio_ws.server.context import House
from peatio_ws.transport.websocket import WebSocket

PROTOCOLS: Final = ("classic", "ranger", "handler")
PROBE_SECONDS: Final = 0.1
"""So far apart is looked whether the loop turns."""
_Key = TypeVar("_Key")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class _Traffic:
    """What went to and fro, on any number of connections."""

    __slots__ = ("messages", "received", "sent")

    def __init__(self) -> None:
        self.messages = self.received = self.sent = 0

    def add(self, ws: WebSocket) -> None:
        self.messages += ws.received
        self.received += ws.received_bytes
        self.sent += ws.outbox.sent

    def take(self, other: _Traffic) -> None:
        """Add all of it, and leave nothing there."""
        for name in _TRAFFIC:
            setattr(self, name, getattr(self, name) + getattr(other, name))
            setattr(other, name, 0)


_TRAFFIC: Final = {"messages": metrics.messages, "received": metrics.received, "sent": metrics.sent}


class Meter:
    """Of one worker.

    Its roster calls `begin`, then `look_at` with each connection, then `end`.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._delays = Spread()
        self._cpu = 0.0
        self._dropped = 0  # lines of the log
        # Of connections that had ended when it looked around last, of those that were there then, and of those that
        # have ended since; and all of it that was told.
        self._past, self._now, self._left, self._told = _Traffic(), _Traffic(), _Traffic(), _Traffic()
        self._states: Counter[tuple[str, str]] = Counter()
        self._waiting = self._slow = self._streams = 0

    def probe(self) -> None:
        """Measure without end how late this greenlet comes to run: what holds it up holds up everybody."""
        while True:
            began = time.monotonic()
            gevent.sleep(PROBE_SECONDS)
            self._delays.add(max(0.0, time.monotonic() - began - PROBE_SECONDS))

    def left(self, ws: WebSocket) -> None:
        """A connection has ended, and is none of the worker's any more."""
        self._left.add(ws)

    def begin(self) -> None:
        """Look around anew."""
        self._past.take(self._left)
        self._now = _Traffic()
        self._states.clear()
        self._waiting = self._slow = self._streams = 0

    def look_at(self, standing: Standing, ws: WebSocket) -> None:
        """One of the worker's connections."""
        size = ws.outbox.size
        self._states[standing.protocol, standing.state] += 1
        self._streams += standing.streams
        self._waiting += size
        self._slow += size > 0
        self._now.add(ws)

    def end(self) -> None:
        """Tell what was seen, and what was counted since the last time."""
        house = self._house
        self._tell_tally()
        self._tell_clients()
        self._tell_names()
        metrics.add(metrics.loop_delay, self._delays)
        for source, seconds in house.intake.behind().items():
            metrics.behind.labels(source).set(seconds)
        metrics.lag.set(house.intake.lag())
        metrics.redis_connected.set(bool(house.shared.connected))
        self._tell_books()
        used = time.process_time()
        metrics.cpu.inc(used - self._cpu)
        self._cpu = used
        dropped = log_writer.dropped()
        metrics.log_dropped.inc(dropped - self._dropped)
        self._dropped = dropped
        with open("/proc/self/statm", "rb") as file:
            metrics.memory.set(int(file.read().split()[1]) * _PAGE)
        metrics.turned.set(time.time())
        metric_files.restore()

    def _tell_tally(self) -> None:
        tally = self._house.intake.tally
        for exchange, count in _taken(tally.deliveries):
            metrics.deliveries.labels(_named(exchange), "routed").inc(count)
        for (exchange, outcome), count in _taken(tally.others):
            if exchange:  # else a marker of the history's, which is no message of Peatio's
                metrics.deliveries.labels(_named(exchange), outcome).inc(count)
        for outcome, count in _taken(tally.events):
            metrics.events.labels(outcome).inc(count)
        for outcome, count in _taken(tally.authentications):
            metrics.authentications.labels(outcome).inc(count)
        for auth, count in _taken(tally.came):
            metrics.ranger_connected.labels(auth).inc(count)
        metrics.frames.inc(tally.frames)
        tally.frames = 0
        for source, spread in tally.batches.items():
            metrics.add(metrics.latency.labels(source), spread)

    def _tell_clients(self) -> None:
        told, past, now = self._told, self._past, self._now
        for name, counter in _TRAFFIC.items():
            # Less than before? One left before it was looked at; the next time it is among those that have ended.
            more = max(0, getattr(past, name) + getattr(now, name) - getattr(told, name))
            setattr(told, name, getattr(told, name) + more)
            counter.inc(more)
        for protocol in PROTOCOLS:
            for state in STATES:
                metrics.connections.labels(protocol, state).set(self._states[protocol, state])
        metrics.outbox_bytes.set(self._waiting)
        metrics.slow_clients.set(self._slow)
        streams = self._house.router.feeds.subscriptions()
        streams["private"] = max(0, self._streams - streams.total())
        for kind in ("private", "public", "prefixed"):
            metrics.subscriptions.labels(kind).set(streams[kind])
            metrics.rango_subscriptions.labels(kind).set(streams[kind])
        # Under the older names.
        members = sum(count for (_, state), count in self._states.items() if state == "member")
        metrics.rango_clients.set(self._states.total())
        metrics.ranger_connections.labels("private").set(members)
        metrics.ranger_connections.labels("public").set(self._states.total() - members)
        metrics.ranger_subscriptions.set(streams.total())

    def _tell_names(self) -> None:
        names = self._house.intake.names
        if names.refused:
            limits.reached(Limit.STREAM_NAMES, names.refused, most=names.most)
            names.refused = 0

    def _tell_books(self) -> None:
        feeds, now = self._house.router.feeds, time.time()
        states = feeds.states()
        for state in State:
            metrics.books.labels(state.value).set(states[state.value])
        for book in feeds.touched():
            metrics.book_updated.labels(book).set(now)


def _taken(counts: Counter[_Key]) -> list[tuple[_Key, int]]:
    """What was counted; from now on it is counted anew."""
    found = list(counts.items())
    counts.clear()
    return found


def _named(exchange: str) -> str:
    """An exchange as a label: Peatio's own, and one for whatever else is bound to the queues."""
    return exchange if exchange in EXCHANGES else "other"
