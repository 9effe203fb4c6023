"""How a broker that is away is tried again, and how it is told whether reading keeps up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from peatio_ws import consumer
from peatio_ws.consumer import Consumer, pauses


def test_pauses_grow_are_jittered_and_bounded() -> None:
    rows = [[pause for pause, _ in zip(pauses(), range(12), strict=False)] for _ in range(50)]
    assert all(0.25 <= row[0] <= 0.5 for row in rows)
    assert all(max(row) <= consumer.LONGEST_PAUSE for row in rows)
    assert sum(row[-1] for row in rows) > 8 * sum(row[0] for row in rows)
    assert len({row[3] for row in rows}) > 40


def test_reading_is_behind_from_the_last_time_that_it_took_all_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.time, "monotonic", lambda: 100.0)
    reader = Consumer(SimpleNamespace(), (), lambda: False, lambda _heard: None, lambda _seconds: None)  # type: ignore[arg-type]
    assert reader.behind() == 0
    reader._connected, reader._transport = True, SimpleNamespace(drained=False, level_at=97.0)
    assert reader.behind() == 3
    reader._transport.drained = True
    assert reader.behind() == 0
    reader._connected, reader._transport = True, None
    assert reader.behind() == 0, "another broker than RabbitMQ"
