"""The folder of metrics: where it is made, and what is said if it cannot be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import metrics_folder
from peatio_ws.monitoring.metrics_folder import VARIABLE


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two existing folders in place of the machine's: `temporary` and `memory`."""
    for name in ("temporary", "memory"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(metrics_folder, "MEMORY", str(tmp_path / "memory"))
    return tmp_path


def test_folder_is_removed_by_the_process_that_made_it(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, made := metrics_folder.make())
    pid = os.getpid()
    monkeypatch.setattr(metrics_folder.os, "getpid", lambda: pid + 1)
    metrics_folder.remove()
    assert Path(made).is_dir()
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, made)
    metrics_folder.remove()
    assert not Path(made).exists()
    monkeypatch.delenv(VARIABLE)
    metrics_folder.remove()


def test_folder_is_made_in_memory_if_no_temporary_folder_is_writable(places: Path) -> None:
    assert Path(metrics_folder.make()).parent == places / "temporary"
    for folder in (places / "temporary").iterdir():
        assert folder.name.startswith(f"peatio_ws-metrics-{os.getpid()}-")
        folder.rmdir()
    (places / "temporary").rmdir()
    assert Path(metrics_folder.make()).parent == places / "memory"


def test_no_writable_folder_is_a_fault(places: Path) -> None:
    (places / "temporary").rmdir()
    (places / "memory").rmdir()
    for act in (metrics_folder.make, lambda: metrics_folder.check({})):
        with pytest.raises(ConfigurationError, match="no temporary folder is writable; set TMPDIR to an existing"):
            act()


def test_check_leaves_nothing_behind(places: Path) -> None:
    assert metrics_folder.check({VARIABLE: ""}) == str(places / "temporary")
    assert metrics_folder.check({VARIABLE: str(places)}) == str(places)
    assert [path.name for path in sorted(places.rglob("*"))] == ["memory", "temporary"]


def test_unwritable_folder_of_the_operator_is_a_fault(places: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"{VARIABLE}=.*none: no file .*: No such file .*; set {VARIABLE}"):
        metrics_folder.check({VARIABLE: str(places / "none")})


def test_report_logs_an_unwritable_folder_with_a_remedy(places: Path) -> None:
    with capture_logs() as lines:
        metrics_folder.report({VARIABLE: str(places)})
        assert not lines
        metrics_folder.report({VARIABLE: str(places / "none")})
    (line,) = lines
    assert line["log_level"] == "error"
    assert "No such file" in line["reason"]
    assert f"set {VARIABLE}" in line["remedy"]
