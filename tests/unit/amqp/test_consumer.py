"""How the consumer reports whether reading keeps up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from peatio_ws.amqp import consumer
from peatio_ws.amqp.consumer import Consumer


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
