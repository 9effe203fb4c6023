"""The short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.programs.fuzz import fuzz
from tests.support.servers import RabbitMQ


def test_fuzzed_client_is_answered_and_affects_no_other(folder: Path, broker: RabbitMQ) -> None:
    printed = fuzz(folder, broker, count=10_000, seed=7)
    assert set(printed["closes"]) == {1003, 1007, 1008, 1009}, "not every kind of input was sent"
    assert {101, 400, 401} <= set(printed["requests"])
    assert printed["bystanders' events"] > 0, "another client was affected"
