"""Settings of all unit tests: hypothesis has no deadline and stores no files. Also a stand-in for steered workers."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from peatio_ws.cluster import operator
from tests.unit.steered_workers import SteeredWorkers

settings.register_profile("unit", deadline=None, database=None, max_examples=100)
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Exclude modules and tests from garbage collections, which would visit them each time: a tenth of the CPU time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> SteeredWorkers:
    """A stand-in for the Redis at `REDIS_URL` and its workers."""
    made = SteeredWorkers()
    monkeypatch.setattr(operator, "open_client", lambda *_: made)
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    return made
