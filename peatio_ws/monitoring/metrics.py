"""Counters and gauges for Prometheus; `docs/metrics.md` has them all. No label that a client can choose.

With gunicorn `PROMETHEUS_MULTIPROC_DIR` is set before this module is imported. Each worker writes its figures into
files of its own there, and whichever is asked tells those of all workers together. What a worker that died has counted
stays; how it stood does not.
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
subscriptions = Gauge("peatio_ws_subscriptions", "Streams that clients have", ["type"], multiprocess_mode="livesum")
authentications = Counter("peatio_ws_authentications", "Tokens shown", ["outcome"])
refusals = Counter("peatio_ws_refused_handshakes", "Upgrades answered with HTTP instead", ["status"])
limits_reached = Counter("peatio_ws_limits_reached", "Times that a limit for clients was reached", ["limit"])
closes = Counter("peatio_ws_closes", "Connections that ended, by close code", ["code"])
handler_failures = Counter("peatio_ws_handler_failures", "Times that a handler raised something", ["handler"])
replays = Counter("peatio_ws_replays", "Clients that came back, by whether all they missed was there", ["outcome"])
messages = Counter("peatio_ws_received_messages", "Messages of clients")
received = Counter("peatio_ws_received_bytes", "Bytes that came from clients")
frames = Counter("peatio_ws_frames", "Text frames put out for clients: events, books and answers")
sent = Counter("peatio_ws_sent_bytes", "Bytes that clients' sockets took")
compressing_connections = Gauge(
    "peatio_ws_compressing_connections", "Open connections that negotiated compression", multiprocess_mode="livesum"
)
compressed_texts = Counter("peatio_ws_compressed_texts", "Texts that were compressed, once for all who receive them")
compressed_bytes = Counter("peatio_ws_compressed_text_bytes", "Bytes of these texts, before and after", ["stage"])
outbox_bytes = Gauge("peatio_ws_outbox_bytes", "Bytes that wait for slow clients", multiprocess_mode="livesum")
slow_clients = Gauge("peatio_ws_slow_clients", "Clients for whom something waits", multiprocess_mode="livesum")

# ---- events

deliveries = Counter("peatio_ws_deliveries", "Messages of the broker, by what became of them", ["exchange", "outcome"])
events = Counter("peatio_ws_events", "Events that were read, by what became of them", ["outcome"])
latency = Histogram(
    "peatio_ws_event_seconds",
    "From the read of the broker's bytes until what came of them was written to the sockets, for each batch",
    ["source"],
    buckets=BUCKETS,
)
broker_connected = Gauge("peatio_ws_broker_connected", "Workers that hear the broker", multiprocess_mode="livesum")
broker_losses = Counter("peatio_ws_broker_losses", "Times that the broker was lost", ["source"])
behind = Gauge(
    "peatio_ws_broker_behind_seconds",
    "For how long the broker's bytes have been coming faster than they are read, in the worker that is worst off",
    ["source"],
    multiprocess_mode="livemax",
)
lag = Gauge(
    "peatio_ws_history_lag_seconds",
    "How long after the broker had it a message of the history stream was read, in the worker that is worst off",
    multiprocess_mode="livemax",
)
books = Gauge("peatio_ws_books", "Order books kept, all workers together", ["state"], multiprocess_mode="livesum")
book_updated = Gauge(
    "peatio_ws_book_updated_timestamp_seconds",
    "When a book changed last, in the worker where that is longest ago",
    ["book"],
    multiprocess_mode="livemin",
)
book_holes = Counter("peatio_ws_book_holes", "Times that increments of a book were missing")
book_restarts = Counter("peatio_ws_book_restarts", "Times that the sequence of a book started again without a snapshot")

# ---- workers

redis_connected = Gauge("peatio_ws_redis_connected", "Workers that reach Redis", multiprocess_mode="livesum")
turned = Gauge(
    "peatio_ws_worker_turned_timestamp_seconds", "When a worker's loop turned last", multiprocess_mode="liveall"
)
loop_delay = Histogram(
    "peatio_ws_loop_delay_seconds",
    "How late a greenlet came that wanted to run, ten times a second",
    buckets=BUCKETS,
)
log_dropped = Counter("peatio_ws_log_lines_dropped", "Lines of the log that its reader did not take in time")
cpu = Counter("peatio_ws_worker_cpu_seconds", "CPU that workers used")
memory = Gauge("peatio_ws_worker_memory_bytes", "Memory that workers hold (RSS)", multiprocess_mode="livesum")

# ---- under the names that Rango and Ranger have for them

rango_clients = Gauge("rango_hub_clients_count", "peatio_ws_connections", multiprocess_mode="livesum")
rango_subscriptions = Gauge(
    "rango_hub_subscriptions_count", "peatio_ws_subscriptions", ["type"], multiprocess_mode="livesum"
)
ranger_connections = Gauge("ranger_connections_current", "peatio_ws_connections", ["auth"], multiprocess_mode="livesum")
ranger_connected = Counter("ranger_connections", "Connections there have been", ["auth"])
ranger_subscriptions = Gauge("ranger_subscriptions_current", "peatio_ws_subscriptions", multiprocess_mode="livesum")

_FILE = re.compile(r"(counter|histogram|gauge_live\w+)_(\d+)\.db")
_UNREADABLE: Final = (OSError, ValueError, RuntimeError, struct.error)
"""What reading the files raises where one is gone or was cut off."""
_DEAD: Final = 0
"""Stands for the pid in the names of the files that hold what workers counted that are gone."""
LOCK_SECONDS: Final = 2.0


def add_durations(histogram: Histogram, durations: DurationHistogram) -> None:
    """Put what was counted into a histogram, and begin to count anew.

    `observe` would have to be called for each of them (prometheus-client 0.26.0 has nothing for many at once).
    """
    for number, count in enumerate(durations.counts):
        if count:
            histogram._buckets[number].inc(count)
            durations.counts[number] = 0
    histogram._sum.inc(durations.total)
    durations.total = 0.0


def text() -> bytes:
    """All figures in Prometheus' text format, of all workers where there are several."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return generate_latest(REGISTRY)
    if not metric_files.restore():
        return generate_latest(REGISTRY)
    try:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        with _locked(folder):
            _remove_dead_workers(folder)
            # In a thread: with 2,000 books and four workers it takes 70 ms, in which nobody would be sent anything.
            return in_thread(generate_latest, registry)
    except TimeoutError:
        raise
    except _UNREADABLE as error:
        log.warning("figures of all workers cannot be read; these are one worker's", error=str(error))
        return generate_latest(REGISTRY)


def turned_at() -> dict[int, float]:
    """When each worker's loop turned last (Unix time), by pid."""
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
        if sample.name == turned._name and sample.value  # else it has just begun
    }


def forget(pid: int) -> None:
    """How a process stands that is no worker: the master, for itself.

    Of workers that are gone a scrape takes care. Done from gunicorn's `child_exit` as well, a file may vanish under
    `mark_process_dead`: an OSError there, at which the master ends everything (gunicorn 27.0.1).
    """
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _remove_dead_workers(folder: str) -> None:
    """Forget how those stood that are gone, and put what they counted into one file: a gateway that runs for months
    has had many workers."""
    for path, kind, pid in _files(folder):
        if pid == _DEAD or _is_alive(pid):
            continue
        if not kind.startswith("gauge") and path.stat().st_size:  # none yet, if it was killed as it made the file
            kept = MetricFile(f"{folder}/{kind}_{_DEAD}.db")
            for key, value, _, _ in MetricFile.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                kept.write_value(key, kept.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
            kept.close()  # type: ignore[no-untyped-call]
        path.unlink(missing_ok=True)


def _files(folder: str) -> list[tuple[Path, str, int]]:
    """The files with figures: each with what is in it, and whose it is."""
    found = ((path, _FILE.fullmatch(path.name)) for path in Path(folder).iterdir())
    return [(path, match[1], int(match[2])) for path, match in found if match]


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """One worker at a time: another would count twice what this one moves. TimeoutError if one of them hangs."""
    until = time.monotonic() + LOCK_SECONDS
    with open(f"{folder}/lock", "ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError("another worker does not come to an end with the figures") from None
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
