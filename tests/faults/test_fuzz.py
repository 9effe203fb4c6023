"""The short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.programs.fuzz import fuzz
from tests.support.servers import RabbitMQ


def test_fuzzed_client_is_answered_and_affects_no_other(folder: Path, broker: RabbitMQ) -> None:
    told = fuzz(folder, broker, count=10_000, seed=7)
    assert set(told["closes"]) == {1003, 1007, 1008, 1009}, "all of them were come by"
    assert {101, 400, 401} <= set(told["requests"])
    assert told["bystanders' events"] > 0, "meanwhile"
