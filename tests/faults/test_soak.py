"""The short form of `make soak`."""

from __future__ import annotations

from pathlib import Path

from tests.programs.soak import is_back, soak
from tests.support.servers import RabbitMQ


def test_nothing_is_left_of_clients_that_came_and_went(folder: Path, broker: RabbitMQ) -> None:
    before, after, got = soak(folder, broker, seconds=12, clients=200, rate=400, least=200)
    assert is_back(before, after), (before, after)
    assert got > 200
