"""Metrics of several processes: counters of processes that have ended are kept."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import BUCKETS, DurationHistogram
from peatio_ws.monitoring.metric_files import FIRST_BYTES
from tests.support.gateway import ROOT
from tests.unit.monitoring.test_metric_files import no_space, written

WORKER = """
import sys
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import DurationHistogram
metrics.frames.inc(10)
metrics.closes.labels("client", "1000").inc(2)
metrics.broker_connected.set(1)
metrics.turned.set(5)
spread = DurationHistogram()
spread.add(0.003), spread.add(99)
metrics.add_durations(metrics.loop_delay, spread)
print("ready", flush=True)
sys.stdin.read()
"""


def worker(folder: Path) -> subprocess.Popen[str]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def figures() -> dict[str, float]:
    return {
        sample.name + "".join(f"|{value}" for name, value in sample.labels.items() if name != "pid"): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_counters_of_ended_processes_are_kept_and_gauges_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    workers = [worker(tmp_path) for _ in range(3)]
    assert set(metrics.turned_at()) == {one.pid for one in workers}
    (tmp_path / f"counter_{2**22 + 1}.db").touch()  # of a process that was killed at its start; no pid is this high
    counted = {
        "peatio_ws_frames_total": 30,
        "peatio_ws_closes_total|client|1000": 6,
        "peatio_ws_loop_delay_seconds_bucket|0.0025": 0,
        "peatio_ws_loop_delay_seconds_bucket|0.005": 3,
        "peatio_ws_loop_delay_seconds_bucket|+Inf": 6,
        "peatio_ws_loop_delay_seconds_count": 6,
    }
    for alive in (3, 2, 1, 0):
        for _ in range(2):
            found = figures()
            assert {name: found[name] for name in counted} == counted
            assert found.get("peatio_ws_broker_connected", 0) == alive
        if workers:
            workers[-1].kill()
            workers.pop().communicate()
    assert not metrics.turned_at()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


@pytest.mark.parametrize("limit", [0, FIRST_BYTES])
def test_counters_of_dead_workers_are_kept_while_the_disk_is_full(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    expected = {"peatio_ws_frames_total": 10.0}
    if limit:  # one of these files has room for both, but not for those of the worker, too
        name, handlers = "peatio_ws_handler_failures", [f"{number:080}" for number in range(350)]
        keys = [mmap_key(name, f"{name}_total", ["handler"], [handler], "") for handler in handlers]
        for pid in (2**22 + 1, 2**22 + 2):  # no process has them
            written(tmp_path / f"counter_{pid}.db", *keys).close()
        expected |= {f"{name}_total|{handler}": 2.0 * number for number, handler in enumerate(handlers)}
    other = worker(tmp_path)
    other.kill()
    other.communicate()
    for space in (no_space(limit), no_space(limit), contextlib.nullcontext()):
        with space, capture_logs() as logs:  # there is no space for lines of a log either
            found = figures()
        assert {name: found[name] for name in expected} == expected
        assert not logs, "the file of a dead worker that is not merged is no reason to say that metrics are lost"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_0.db", "histogram_0.db", "lock"]


def test_files_that_cannot_be_read_for_a_moment_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the metrics of one worker instead, counters would go backwards."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(metrics, "READ_PAUSE", 0.0)
    other = worker(tmp_path)
    merge, failures = metrics._remove_dead_workers, [OSError("gone"), ValueError("truncated")]

    def fail_twice(folder: str) -> None:
        if failures:
            raise failures.pop()
        merge(folder)

    monkeypatch.setattr(metrics, "_remove_dead_workers", fail_twice)
    with capture_logs() as lines:
        assert figures()["peatio_ws_frames_total"] == 10
    assert not lines, "a failure that does not last is not reported"
    other.kill()
    other.communicate()


def test_adding_durations_at_once_equals_observing_each() -> None:
    durations, chance = DurationHistogram(), random.Random(1)
    times = [chance.expovariate(20) for _ in range(1000)]
    for seconds in times:
        durations.add(seconds)
    histogram = metrics.latency.labels("test")
    metrics.add_durations(histogram, durations)
    exported = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in metrics.text().decode().splitlines()}
    for bound in BUCKETS:
        name = f'peatio_ws_event_seconds_bucket{{le="{bound}",source="test"}}'
        assert float(exported[name]) == sum(one <= bound for one in times)
    assert float(exported['peatio_ws_event_seconds_count{source="test"}']) == 1000
    assert float(exported['peatio_ws_event_seconds_sum{source="test"}']) == pytest.approx(sum(times))
    assert durations.counts == DurationHistogram().counts
    metrics.latency.remove("test")


def test_every_metric_is_in_the_docs_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| ", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels.partition("(")[0]))) for name, kind, labels in rows}
    declared = [one for one in vars(metrics).values() if hasattr(one, "_labelnames")]
    ours = {one._name + ("_total" if one._type == "counter" else ""): one for one in declared}
    assert sorted(name for name, _, _ in rows) == sorted(ours)
    for name, metric in ours.items():
        labels = {*metric._labelnames, *(["pid"] if getattr(metric, "_multiprocess_mode", "") == "liveall" else [])}
        kind, exported = documented[name]
        assert kind == metric._type, name
        assert labels <= exported, name
        assert bool(labels) == bool(exported), name


def test_no_label_can_be_chosen_by_a_client() -> None:
    """A new label has to be considered, and added here."""
    allowed = (
        "protocol state type outcome status by code exchange source book auth handler limit stage version python"
    ).split()
    for name, metric in vars(metrics).items():
        if hasattr(metric, "_labelnames"):
            assert set(metric._labelnames) <= set(allowed), name
