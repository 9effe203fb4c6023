"""The stored comparison of the model with real runs."""

from __future__ import annotations

import json

from bench.scale.check import PARTS, exchange, rows, summary, table
from bench.scale.costs import RESULTS, Costs
from bench.scale.traffic import Rates
from tests.support.gateway import ROOT

RUNS = json.loads((RESULTS / "check.json").read_text())["runs"]
COSTS = Costs.read()
LARGEST_ERROR = 0.25


def test_the_model_agrees_with_the_stored_runs() -> None:
    found = rows(RUNS, COSTS)
    assert set(RUNS) == set(PARTS)
    wrong = [(part, load, figure) for part, load, figure, model, measured in found if not _agree(model, measured)]
    assert not wrong


def _agree(model: float, measured: float) -> bool:
    return abs(model / measured - 1) <= LARGEST_ERROR


def test_stored_tables_and_documents_show_the_stored_runs() -> None:
    found = rows(RUNS, COSTS)
    assert table(found) in (RESULTS / "check.md").read_text()
    assert summary(found) in (ROOT / "docs" / "benchmarks.md").read_text()


def test_published_events_become_rates() -> None:
    found = exchange(Rates(private=30, public=10, increments=30), 2.0)
    assert (found.private, found.public, found.increments) == (15, 20, 0.75)
