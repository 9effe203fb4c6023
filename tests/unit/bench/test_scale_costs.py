"""Costs as they are measured, stored and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.scale import costs
from bench.scale.costs import Costs, Runs
from bench.scale.parts import micro


def test_a_cost_is_the_median_of_its_runs(tmp_path: Path) -> None:
    runs = Runs.empty()
    for value in (1.0, 7.0, 2.0):
        runs.add({"read_public@100": value})
    runs.write(tmp_path)
    assert Costs.read(tmp_path / "costs.json").at("read_public", 100) == 2.0


def test_runs_are_added_to_those_that_are_stored(tmp_path: Path) -> None:
    for value in (1.0, 3.0):
        runs = Runs.read(tmp_path) if value > 1 else Runs.empty()
        runs.add({"queue_bytes": value})
        runs.write(tmp_path)
    assert Costs.read(tmp_path / "costs.json")["queue_bytes"] == 2.0


def test_runs_of_another_machine_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Runs.empty().write(tmp_path)
    monkeypatch.setattr(costs, "machine", lambda: "another")
    with pytest.raises(SystemExit, match="another machine"):
        Runs.read(tmp_path)


def test_the_stored_costs_are_neither_negative_nor_unknown() -> None:
    raw = json.loads((costs.RESULTS / "costs.json").read_text())
    assert set(raw["costs"]) == set(raw["runs"])
    assert all(value >= 0 for name, value in raw["costs"].items() if not name.endswith("_bytes"))


def test_microseconds_of_each_thing() -> None:
    assert micro(0.5, 1000) == 500
