"""Exports the counters and the status of a worker to the metrics, once a second."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from typing import Final

import gevent

from peatio_ws.cluster.local_state import SharedState
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import limits, log_writer, metric_files, metrics
from peatio_ws.monitoring.counters import STATES, ConnectionStatus, WorkerCounters
from peatio_ws.monitoring.limits import Limit
from peatio_ws.monitoring.recent_load import RecentLoad
from peatio_ws.monitoring.worker_reports import WorkerLoad
from peatio_ws.monitoring.zeros import export_zeros
from peatio_ws.orderbook.sync import BookState
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.compression import Compression
from peatio_ws.transport.websocket import WebSocket
from peatio_ws.version import VERSION

PROTOCOLS: Final = ("classic", "ranger", "handler")
PROBE_SECONDS: Final = 0.1
"""The interval at which the delay of the event loop is measured."""
_PYTHON: Final = platform.python_version()
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class _Traffic:
    """The traffic of any number of connections."""

    __slots__ = ("messages", "received", "sent")

    def __init__(self) -> None:
        self.messages = self.received = self.sent = 0

    def add(self, ws: WebSocket) -> None:
        self.messages += ws.received
        self.received += ws.inbox.received_bytes
        self.sent += ws.outbox.sent

    def move_from(self, other: _Traffic) -> None:
        """Add all traffic of another object, and set that to zero."""
        for name in _TRAFFIC:
            setattr(self, name, getattr(self, name) + getattr(other, name))
            setattr(other, name, 0)


_TRAFFIC: Final = {"messages": metrics.messages, "received": metrics.received, "sent": metrics.sent}


class StatsReporter:
    """The reporter of one worker.

    The registry calls `begin`, then `add_connection` for each connection, then `end`.
    """

    def __init__(self, settings: Settings, counters: WorkerCounters, ingest: BrokerIngest, shared: SharedState) -> None:
        self._settings = settings
        export_zeros()
        self._counters, self._ingest, self._shared = counters, ingest, shared
        self._delays = counters.durations(metrics.loop_delay)
        self._recent = RecentLoad()
        self._cpu, self._memory = 0.0, 0
        self._dropped = 0  # log lines, as reported
        # Of connections that had ended before the last round, of those that were open in it, and of those that have
        # ended since; and the sum that was reported.
        self._past, self._now, self._left, self._reported = _Traffic(), _Traffic(), _Traffic(), _Traffic()
        self._states: Counter[tuple[str, str]] = Counter()
        self._compressing: Counter[Compression] = Counter()
        self._waiting = self._slow = self._streams = 0
        self._reported_waiting = self._reported_slow = 0

    def probe(self) -> None:
        """Measure forever how late this greenlet runs: what delays it delays every client."""
        while True:
            began = time.monotonic()
            gevent.sleep(PROBE_SECONDS)
            delay = max(0.0, time.monotonic() - began - PROBE_SECONDS)
            self._delays.add(delay)
            self._recent.add_delay(delay)

    def add_closed(self, ws: WebSocket) -> None:
        """Add a connection that has ended and left the registry."""
        self._left.add(ws)

    def begin(self) -> None:
        """Start a round over all connections."""
        self._past.move_from(self._left)
        self._now = _Traffic()
        self._states.clear()
        self._compressing = Counter(dict.fromkeys(self._compressing, 0))  # with those of which none is left
        self._waiting = self._slow = self._streams = 0

    def add_connection(self, status: ConnectionStatus, ws: WebSocket) -> None:
        """Add an open connection."""
        size = ws.outbox.size
        self._states[status.protocol, status.state] += 1
        self._streams += status.streams
        self._waiting += size
        self._slow += size > 0
        self._now.add(ws)
        if ws.outbox.compression is not None:
            self._compressing[ws.outbox.compression] += 1

    def end(self) -> None:
        """Report the connections of this round, and everything counted since the last one."""
        self._counters.export(metrics.add_durations)
        self._report_connections()
        self._report_compression()
        self._report_stream_names()
        for source, seconds in self._ingest.behind().items():
            metrics.behind.labels(source).set(seconds)
        metrics.lag.set(self._ingest.lag())
        metrics.build_info.labels(VERSION, _PYTHON).set(1)
        metrics.configured_workers.set(self._settings.workers)
        metrics.max_connections.set(self._settings.max_connections)
        metrics.redis_configured.set(self._settings.workers if self._settings.redis_url is not None else 0)
        metrics.redis_connected.set(bool(self._shared.connected))
        self._report_books()
        used = time.process_time()
        metrics.cpu.inc(used - self._cpu)
        self._cpu = used
        self._recent.add_round(time.monotonic(), used)
        dropped = log_writer.dropped()
        metrics.log_dropped.inc(dropped - self._dropped)
        self._dropped = dropped
        self._memory = _resident_bytes(self._memory)
        metrics.memory.set(self._memory)
        metrics.turned.set(time.time())
        metric_files.restore()

    def load(self) -> WorkerLoad:
        """Return what the worker does, as of the last round."""
        recent = self._recent
        return WorkerLoad(
            max_connections=self._settings.max_connections,
            cpu=round(recent.cpu, 3),
            memory=self._memory,
            loop_delay=round(recent.longest_delay, 4),
            behind=round(max(self._ingest.behind().values(), default=0.0), 3),
            waiting=self._reported_waiting,
            slow=self._reported_slow,
            deliveries=self._counters.total(metrics.deliveries),
            frames=self._counters.total(metrics.frames),
            redis=bool(self._shared.connected) if self._settings.redis_url is not None else None,
        )

    def _report_connections(self) -> None:
        reported, past, now = self._reported, self._past, self._now
        for name, counter in _TRAFFIC.items():
            # It is less if a connection left before it was added. The next round finds it among those that have ended.
            more = max(0, getattr(past, name) + getattr(now, name) - getattr(reported, name))
            setattr(reported, name, getattr(reported, name) + more)
            counter.inc(more)
        for protocol in PROTOCOLS:
            for state in STATES:
                metrics.connections.labels(protocol, state).set(self._states[protocol, state])
        self._reported_waiting, self._reported_slow = self._waiting, self._slow
        metrics.outbox_bytes.set(self._waiting)
        metrics.slow_clients.set(self._slow)
        streams = self._ingest.channels.subscriptions()
        streams["private"] = max(0, self._streams - streams.total())
        for kind in ("private", "public", "prefixed"):
            metrics.subscriptions.labels(kind).set(streams[kind])
            metrics.rango_subscriptions.labels(kind).set(streams[kind])
        # Under the names of Rango and Ranger.
        members = sum(count for (_, state), count in self._states.items() if state == "member")
        metrics.rango_clients.set(self._states.total())
        metrics.ranger_connections.labels("private").set(members)
        metrics.ranger_connections.labels("public").set(self._states.total() - members)
        metrics.ranger_subscriptions.set(streams.total())

    def _report_compression(self) -> None:
        metrics.compressing_connections.set(self._compressing.total())
        for compression in self._compressing:
            texts, before, after = compression.take_counts()
            metrics.compressed_texts.inc(texts)
            metrics.compressed_bytes.labels("before").inc(before)
            metrics.compressed_bytes.labels("after").inc(after)

    def _report_stream_names(self) -> None:
        names = self._ingest.names
        if names.refused:
            limits.reached(Limit.STREAM_NAMES, names.refused, most=names.most)
            names.refused = 0

    def _report_books(self) -> None:
        channels, now = self._ingest.channels, time.time()
        states = channels.states()
        for state in BookState:
            metrics.books.labels(state.value).set(states[state.value])
        for book in channels.touched():
            metrics.book_updated.labels(book).set(now)


def _resident_bytes(before: int) -> int:
    """Return the resident memory of this process, or the figure before if all its file descriptors are in use."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return before
