"""The short form of `make soak`, over TLS."""

from __future__ import annotations

from pathlib import Path

from tests.programs.soak import is_back, soak
from tests.support.servers import RabbitMQ


def test_clients_leave_nothing_behind(folder: Path, broker: RabbitMQ) -> None:
    before, after, got = soak(folder, broker, seconds=12, clients=200, rate=400, least=200, tls=True)
    assert is_back(before, after), (before, after)
    assert got > 200
