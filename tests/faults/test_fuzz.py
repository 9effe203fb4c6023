"""The short form of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.fuzz import fuzz
from tests.support.servers import RabbitMQ


@pytest.mark.parametrize(("count", "tls"), [(7_000, False), (3_000, True)], ids=["ws", "wss"])
def test_fuzzed_client_is_answered_and_affects_no_other(folder: Path, broker: RabbitMQ, count: int, tls: bool) -> None:
    printed = fuzz(folder, broker, count, seed=7, over_tls=tls)
    assert set(printed["closes"]) == {1003, 1007, 1008, 1009}, "not every kind of input was sent"
    assert {101, 400, 401} <= set(printed["requests"])
    assert printed["bystanders' events"] > 0, "another client was affected"
