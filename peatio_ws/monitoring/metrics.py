"""Metrics for Prometheus; `docs/metrics.md` lists them. Clients cannot choose the value of a label.

With gunicorn `PROMETHEUS_MULTIPROC_DIR` is set before this module is imported. Each worker writes its metrics into its
own files there, and any worker can export those of all workers. The counters of a dead worker stay; its gauges do not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import gevent
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import REGISTRY

from peatio_ws.concurrency.threads import in_thread
from peatio_ws.monitoring import metric_files
from peatio_ws.monitoring.counters import BUCKETS, DurationHistogram
from peatio_ws.monitoring.metric_files import MetricFile

log = structlog.get_logger("peatio_ws.monitoring.metrics")

metric_files.install()

# ---- clients

connections = Gauge("peatio_ws_connections", "Open connections", ["protocol", "state"], multiprocess_mode="livesum")
subscriptions = Gauge("peatio_ws_subscriptions", "Subscriptions of clients", ["type"], multiprocess_mode="livesum")
authentications = Counter("peatio_ws_authentications", "Tokens presented", ["outcome"])
refusals = Counter("peatio_ws_refused_handshakes", "WebSocket upgrades refused with an HTTP status", ["status"])
limits_reached = Counter("peatio_ws_limits_reached", "Times that a limit for clients was reached", ["limit"])
closes = Counter("peatio_ws_closes", "Connections that ended, by close code and sender", ["by", "code"])
handler_failures = Counter("peatio_ws_handler_failures", "Exceptions raised by handlers", ["handler"])
replays = Counter("peatio_ws_replays", "Clients that resumed, by whether all missed events were available", ["outcome"])
messages = Counter("peatio_ws_received_messages", "Messages received from clients")
received = Counter("peatio_ws_received_bytes", "Bytes received from clients")
frames = Counter("peatio_ws_frames", "Text frames queued for clients: events, books and replies")
sent = Counter("peatio_ws_sent_bytes", "Bytes written to clients' sockets")
compressing_connections = Gauge(
    "peatio_ws_compressing_connections", "Open connections that negotiated compression", multiprocess_mode="livesum"
)
compressed_texts = Counter("peatio_ws_compressed_texts", "Texts compressed, each once for all receivers")
compressed_bytes = Counter(
    "peatio_ws_compressed_text_bytes", "Bytes of compressed texts, before and after compression", ["stage"]
)
outbox_bytes = Gauge("peatio_ws_outbox_bytes", "Bytes waiting for slow clients", multiprocess_mode="livesum")
slow_clients = Gauge("peatio_ws_slow_clients", "Clients with waiting bytes", multiprocess_mode="livesum")

# ---- events

deliveries = Counter("peatio_ws_deliveries", "Messages received from the broker, by outcome", ["exchange", "outcome"])
events = Counter("peatio_ws_events", "Events, by outcome", ["outcome"])
latency = Histogram(
    "peatio_ws_event_seconds",
    "Time from reading a batch from the broker to writing its events to the sockets",
    ["source"],
    buckets=BUCKETS,
)
broker_connected = Gauge("peatio_ws_broker_connected", "Workers connected to the broker", multiprocess_mode="livesum")
broker_losses = Counter("peatio_ws_broker_losses", "Lost connections to the broker", ["source"])
behind = Gauge(
    "peatio_ws_broker_behind_seconds",
    "How long the broker has been sending faster than it is read, in the slowest worker",
    ["source"],
    multiprocess_mode="livemax",
)
lag = Gauge(
    "peatio_ws_history_lag_seconds",
    "Delay between the broker receiving a history message and a worker reading it, in the slowest worker",
    multiprocess_mode="livemax",
)
books = Gauge("peatio_ws_books", "Order books kept by all workers", ["state"], multiprocess_mode="livesum")
book_updated = Gauge(
    "peatio_ws_book_updated_timestamp_seconds",
    "Last change of a book, in the worker where it is oldest",
    ["book"],
    multiprocess_mode="livemin",
)
book_holes = Counter("peatio_ws_book_holes", "Gaps in the increments of a book")
book_restarts = Counter("peatio_ws_book_restarts", "Restarts of a book's sequence without a snapshot")

# ---- workers

build_info = Gauge(
    "peatio_ws_build_info", "Versions of the workers; always 1", ["version", "python"], multiprocess_mode="livemax"
)
configured_workers = Gauge(
    "peatio_ws_configured_workers", "Workers that should run (WEB_CONCURRENCY)", multiprocess_mode="livemax"
)
max_connections = Gauge(
    "peatio_ws_max_connections", "Connections that all workers have room for", multiprocess_mode="livesum"
)
redis_configured = Gauge(
    "peatio_ws_redis_configured_workers",
    "Workers that should be connected to Redis (WEB_CONCURRENCY, or 0 without REDIS_URL)",
    multiprocess_mode="livemax",
)
redis_connected = Gauge("peatio_ws_redis_connected", "Workers connected to Redis", multiprocess_mode="livesum")
turned = Gauge(
    "peatio_ws_worker_turned_timestamp_seconds", "Last turn of a worker's event loop", multiprocess_mode="liveall"
)
loop_delay = Histogram(
    "peatio_ws_loop_delay_seconds",
    "Delay of a timer in the event loop, sampled ten times a second",
    buckets=BUCKETS,
)
certificate_expiry = Gauge(
    "peatio_ws_certificate_expiry_timestamp_seconds",
    "End of the validity of the certificate in use, in the worker where it is earliest",
    multiprocess_mode="livemin",
)
log_dropped = Counter("peatio_ws_log_lines_dropped", "Log lines dropped because the log was not read in time")
cpu = Counter("peatio_ws_worker_cpu_seconds", "CPU time used by workers")
memory = Gauge("peatio_ws_worker_memory_bytes", "Resident memory of workers (RSS)", multiprocess_mode="livesum")

# ---- under the names of Rango and Ranger

rango_clients = Gauge("rango_hub_clients_count", "peatio_ws_connections", multiprocess_mode="livesum")
rango_subscriptions = Gauge(
    "rango_hub_subscriptions_count", "peatio_ws_subscriptions", ["type"], multiprocess_mode="livesum"
)
ranger_connections = Gauge("ranger_connections_current", "peatio_ws_connections", ["auth"], multiprocess_mode="livesum")
ranger_connected = Counter("ranger_connections", "Connections opened", ["auth"])
ranger_subscriptions = Gauge("ranger_subscriptions_current", "peatio_ws_subscriptions", multiprocess_mode="livesum")

_FILE = re.compile(r"(counter|histogram|gauge_live\w+)_(\d+)\.db")
_UNREADABLE: Final = (OSError, ValueError, RuntimeError, struct.error)
"""Exceptions of reading a file that is gone or truncated."""
_DEAD: Final = 0
"""The pid in the names of the files with the counters of dead workers."""
LOCK_SECONDS: Final = 2.0
READ_TRIES: Final = 4
READ_PAUSE: Final = 0.05
"""How often the metrics of all workers are read if they cannot be, and the seconds between. With those of one worker
instead, counters seem to go backwards."""


def add_durations(histogram: Histogram, durations: DurationHistogram) -> None:
    """Add durations to a histogram, and reset them.

    prometheus-client 0.26.0 can only `observe` one duration at a time.
    """
    for number, count in enumerate(durations.counts):
        if count:
            histogram._buckets[number].inc(count)
            durations.counts[number] = 0
    histogram._sum.inc(durations.total)
    durations.total = 0.0


def text() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return generate_latest(REGISTRY)
    if not metric_files.restore():
        return generate_latest(REGISTRY)
    for attempt in range(READ_TRIES):
        try:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            with _locked(folder):
                _remove_dead_workers(folder)
                # In a thread: with 2,000 books and four workers this takes 70 ms, and would delay all clients.
                return in_thread(generate_latest, registry)
        except TimeoutError:
            raise
        except _UNREADABLE as error:  # a worker that starts or ends may just be changing its files
            if attempt == READ_TRIES - 1:
                log.warning("metrics of all workers cannot be read; exporting one worker's", error=str(error))
            else:
                gevent.sleep(READ_PAUSE)
    return generate_latest(REGISTRY)


def turned_at() -> dict[int, float]:
    """Return the last turn of each worker's event loop as Unix time, by pid."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return {}
    try:
        files = [str(path) for path, kind, pid in _files(folder) if kind == "gauge_liveall" and _is_alive(pid)]
        found = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    except _UNREADABLE:
        return {}
    return {
        int(sample.labels["pid"]): sample.value
        for metric in found
        for sample in metric.samples
        if sample.name == turned._name and sample.value  # else it has just started
    }


def forget(pid: int) -> None:
    """Remove the gauges of a process that is not a worker. The master calls it for itself.

    A scrape removes those of dead workers. If gunicorn's `child_exit` did so too, a file could vanish during
    `mark_process_dead`, and the OSError would end the master and all workers (gunicorn 27.0.1).
    """
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _remove_dead_workers(folder: str) -> None:
    """Remove the gauges of dead workers, and merge their counters into one file.

    Without this, a gateway that runs for months would collect the files of many workers.
    """
    for path, kind, pid in _files(folder):
        if pid == _DEAD or _is_alive(pid):
            continue
        # A file is empty if the worker was killed while making it.
        if kind.startswith("gauge") or not path.stat().st_size or _merge(path, Path(folder, f"{kind}_{_DEAD}.db")):
            path.unlink(missing_ok=True)


def _merge(path: Path, kept: Path) -> bool:
    """Add the counters of a file to those of dead workers. Return False, and change nothing, if that fails."""
    sums = dict[str, float]()
    for one in (kept, path) if kept.exists() else (path,):
        for key, value, _, _ in MetricFile.read_all_values_from_file(str(one)):  # type: ignore[no-untyped-call]
            sums[key] = sums.get(key, 0.0) + value
    unfinished = kept.with_suffix(".unfinished")
    try:
        metric_files.write(unfinished, sums)
    except OSError:
        unfinished.unlink(missing_ok=True)
        return False
    unfinished.replace(kept)
    return True


def _files(folder: str) -> list[tuple[Path, str, int]]:
    """Return the files with metrics, each with its kind and the pid of its worker."""
    found = ((path, _FILE.fullmatch(path.name)) for path in Path(folder).iterdir())
    return [(path, match[1], int(match[2])) for path, match in found if match]


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock the folder, because another worker would count twice what this one merges. TimeoutError if one hangs."""
    until = time.monotonic() + LOCK_SECONDS
    with open(f"{folder}/lock", "ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError("another worker holds the lock of the metrics") from None
                gevent.sleep(0.01)
        yield


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
