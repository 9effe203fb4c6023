"""Metric files that are removed, or for which there is no space."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from peatio_ws.monitoring import metric_files
from peatio_ws.monitoring.metric_files import FIRST_BYTES, MetricFile
from tests.support.descriptors import no_descriptors

MANY = [f"name of a figure, number {number}" for number in range(3000)]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    structlog.reset_defaults()
    metric_files._open.clear()
    monkeypatch.setattr(metric_files, "_failure_logged_by", 0)


def read(path: Path) -> dict[str, float]:
    return {key: value for key, value, *_ in MetricFile.read_all_values_from_file(str(path))}


def written(path: Path, *names: str) -> MetricFile:
    file = MetricFile(str(path))
    for number, name in enumerate(names):
        file.write_value(name, float(number), 0.0)
    return file


@contextlib.contextmanager
def no_space(limit: int = 0) -> Iterator[None]:
    """Limit the size of files: EFBIG stands for a full disk's ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_can_be_read_by_prometheus_client(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    expected = {name: float(number) for number, name in enumerate(MANY)}
    file = written(path, *MANY)
    assert read(path) == expected
    assert path.stat().st_size == path.stat().st_blocks * 512, (
        "the file's space is not allocated: writing to it could fail"
    )
    file.close()
    assert written(path).read_value(MANY[7])[0] == 7.0


@pytest.mark.parametrize("names", [["a", "b"], MANY], ids=["few", "many"])
def test_removed_file_is_restored_with_its_content(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "figures" / "counter_1.db"
    file = written(path, *names)
    shutil.rmtree(path.parent)
    file.write_value(names[0], 100.0, 0.0)
    metric_files.restore()
    file.write_value(names[1], 200.0, 0.0)
    file.write_value("new", 300.0, 0.0)
    found = read(path)
    assert (len(found), found[names[0]], found[names[1]], found["new"]) == (len(names) + 1, 100.0, 200.0, 300.0)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    inode = path.stat().st_ino
    metric_files.restore()
    assert path.stat().st_ino == inode, "the file was written again"


def test_without_space_metrics_stay_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    with capture_logs() as lines:
        with no_space():
            file = written(path, *MANY)
            assert file.read_value(MANY[7])[0] == 7.0
            assert not path.exists(), "an unreadable file was left behind"
            metric_files.restore()
            metric_files.restore()
        metric_files.restore()
    assert len(read(path)) == len(MANY)
    assert [line["event"] for line in lines] == [
        "metrics cannot be written; keeping them in memory",
        "metrics can be written again",
    ]


def test_file_that_cannot_grow_is_continued_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    file = written(path, *MANY[:100])
    with no_space(FIRST_BYTES):
        for name in MANY:
            file.write_value(name, 1.0, 0.0)
        assert len(read(path)) < len(MANY)
    metric_files.restore()
    assert read(path) == dict.fromkeys(MANY, 1.0)


def test_process_leaves_its_parents_files_alone(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    file = written(path, "a")
    file._pid = os.getpid() + 1
    path.unlink()
    metric_files.restore()
    assert not path.exists()
    closed = written(path, "a")
    closed.close()
    path.unlink()
    metric_files.restore()
    assert not path.exists()


def test_file_grows_and_returns_while_all_file_descriptors_are_in_use(tmp_path: Path) -> None:
    path = tmp_path / "gauge_livesum_1.db"
    file = written(path, MANY[0])
    with no_descriptors(), capture_logs() as logs:
        for number, name in enumerate(MANY):
            file.write_value(name, float(number), 0.0)
    assert [entry["event"] for entry in logs] == ["metrics cannot be written; keeping them in memory"]
    assert metric_files.restore()
    assert read(path) == {name: float(number) for number, name in enumerate(MANY)}
    file.close()
