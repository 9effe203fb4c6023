"""Traffic is counted once, although connections come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import ConnectionStatus, WorkerCounters
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.server.stats import StatsReporter
from peatio_ws.transport.compression import Compression
from peatio_ws.transport.frames import text_frame
from tests.support.descriptors import no_descriptors

NEW = ConnectionStatus("classic", False, 0, None)


def socket(compression: Compression | None = None) -> Any:
    outbox = SimpleNamespace(size=0, sent=0, compression=compression)
    return SimpleNamespace(inbox=SimpleNamespace(received_bytes=2), outbox=outbox, received=1)


def stats(**settings: Any) -> StatsReporter:
    shared = SharedState(Revocations(), Lockout(0))
    counters = WorkerCounters()
    made = Settings(AMQP_URL=("memory://",), **settings)
    return StatsReporter(made, counters, BrokerIngest(made, shared, counters), shared)


def reported() -> float:
    return metrics.sent._value.get()


STEPS = st.lists(st.sampled_from(["come", "send", "leave", "look", "round"]), max_size=60)


@given(STEPS)
def test_each_byte_is_counted_once_and_never_too_early(steps: list[str]) -> None:
    measured, before = stats(), reported()
    there: list[Any] = []
    unseen: list[Any] = []
    sent = 0
    measured.begin()
    for step in steps:
        if step == "come":
            there.append(socket())
        elif step == "send" and there:
            there[0].outbox.sent += 7
            sent += 7
        elif step == "leave" and there:
            measured.add_closed(there.pop())
        elif step == "look" and unseen:
            measured.add_connection(NEW, unseen.pop())  # it may have disconnected meanwhile
        elif step == "round":
            for one in unseen:
                measured.add_connection(NEW, one)
            measured.end()
            assert reported() - before <= sent
            measured.begin()
            unseen = list(there)
    for one in there:
        measured.add_closed(one)
    measured.begin()
    measured.end()
    assert reported() - before == sent


def test_connection_state_is_reported() -> None:
    measured = stats()
    measured.begin()
    gone = ConnectionStatus("classic", True, 0, "IDANN")
    for one in (NEW, NEW._replace(streams=2), NEW._replace(uid="IDANN"), gone, gone):
        measured.add_connection(one, socket())
    measured.end()
    counts = {state: metrics.connections.labels("classic", state)._value.get() for state in ("new", "public", "member")}
    assert counts == {"new": 1, "public": 1, "member": 1}
    assert metrics.connections.labels("classic", "closing")._value.get() == 2
    assert metrics.rango_clients._value.get() == 5


def test_compression_is_reported_after_clients_have_left() -> None:
    measured, compression = stats(), Compression(12, 512)
    counters = [metrics.compressed_texts, *(metrics.compressed_bytes.labels(stage) for stage in ("before", "after"))]
    before = [counter._value.get() for counter in counters]
    measured.begin()
    for one in (socket(compression), socket(compression), socket()):
        measured.add_connection(NEW, one)
    measured.end()
    assert metrics.compressing_connections._value.get() == 2
    made = compression.compress(text_frame(b"x" * 5_000))
    measured.begin()
    measured.end()
    assert metrics.compressing_connections._value.get() == 0
    assert [counter._value.get() - count for counter, count in zip(counters, before, strict=True)] == [
        1,
        5_000,
        len(made) - 2,
    ]


def test_load_is_that_of_the_last_round() -> None:
    counters = WorkerCounters()
    shared = SharedState(Revocations(), Lockout(0))
    settings = Settings(AMQP_URL=("memory://",), WEBSOCKET_MAX_CONNECTIONS=7)
    measured = StatsReporter(settings, counters, BrokerIngest(settings, shared, counters), shared)
    counters.count(metrics.frames).value += 5
    for exchange in ("peatio.trade", "other"):
        counters.count(metrics.deliveries, exchange, "routed").value += 2
    for size in (0, 30, 12):
        slow = socket()
        slow.outbox.size = size
        measured.add_connection(NEW, slow)
    assert (measured.load().waiting, measured.load().slow) == (0, 0), "the round has not ended"
    measured.end()
    measured.begin()
    counters.count(metrics.frames).value += 1
    load = measured.load()
    assert (load.max_connections, load.waiting, load.slow, load.deliveries, load.frames) == (7, 42, 2, 4, 6)
    assert load.memory > 1_000_000
    assert load.redis is None


def test_workers_that_should_be_connected_to_redis_are_none_without_an_address() -> None:
    for more, expected in (({"REDIS_URL": "redis://127.0.0.1:1/0"}, 1), ({}, 0)):
        measured = stats(**more)
        measured.begin()
        measured.end()
        assert metrics.redis_configured._value.get() == expected


def test_round_ends_while_all_file_descriptors_are_in_use() -> None:
    measured = stats()
    measured.begin()
    measured.end()
    before = measured.load().memory
    measured.begin()
    measured.add_connection(NEW, socket())
    with no_descriptors():
        measured.end()
    assert measured.load().memory == before
    assert metrics.connections.labels("classic", "new")._value.get() == 1
