"""How the consumer reports whether reading keeps up, and how it tries a refused source again."""

from __future__ import annotations

from types import SimpleNamespace

import gevent
import pytest

from peatio_ws.amqp import consumer
from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.source import Refusal, SourceRefused, Sources


def test_reader_is_behind_since_it_last_drained_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.time, "monotonic", lambda: 100.0)
    reader = Consumer(SimpleNamespace(), (), lambda: False, lambda _connected: None, lambda _seconds: None)  # type: ignore[arg-type]
    assert reader.behind() == 0
    reader._connected, reader._transport = True, SimpleNamespace(drained=False, level_at=97.0)
    assert reader.behind() == 3
    reader._transport.drained = True
    assert reader.behind() == 0
    reader._connected, reader._transport = True, None
    assert reader.behind() == 0, "brokers other than RabbitMQ have no such transport"


def test_result_of_an_old_trial_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(consumer.time, "monotonic", lambda: now)
    preferred, other = SimpleNamespace(name="stream"), SimpleNamespace(name="queue")
    sources = Sources(preferred, other)  # type: ignore[arg-type]
    reader = Consumer(sources, (), lambda: False, lambda _connected: None, lambda _seconds: None)
    sources.replace(SourceRefused(Refusal.TOO_OLD))
    monkeypatch.setattr(reader, "_prepare", lambda _url: True)
    reader._try_preferred("amqp://")
    gevent.idle()  # the trial succeeds while the other source is lost
    now += 1000
    reader._restore_preferred()
    assert sources.current is preferred
    reader._try_preferred("amqp://")  # does not raise: the preferred source is not prepared again
