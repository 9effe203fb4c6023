"""When a reader counts as dead."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from peatio_ws.amqp.history_stream import silence as room
from peatio_ws.amqp.history_stream.silence import SILENT_CHECKS, Silence


def test_time_is_counted_from_the_last_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    awake, asleep = 1000.0, 0.0
    clock = SimpleNamespace(
        monotonic=lambda: awake, clock_gettime=lambda _clock: awake + asleep, CLOCK_BOOTTIME=time.CLOCK_BOOTTIME
    )
    monkeypatch.setattr(room, "time", clock)
    silence = Silence()
    assert (silence.seconds, silence.since) == (None, 0.0)
    silence.last_at = room.now()
    awake, asleep = awake + 5, 100.0
    assert (silence.seconds, silence.since) == (105.0, 900.0), "events in the stream get older while the host sleeps"


def test_reader_is_dead_if_an_awaited_marker_never_arrives() -> None:
    silence = Silence()
    assert [silence.is_dead(1, awaited=True) for _ in range(SILENT_CHECKS + 1)] == [False] * SILENT_CHECKS + [True]


def test_reader_is_alive_while_anything_arrives_or_nothing_is_awaited() -> None:
    silence = Silence()
    assert not any(silence.is_dead(tag, awaited=True) for tag in range(1, 100))
    assert not any(silence.is_dead(100, awaited=False) for _ in range(100))


def test_each_marker_is_awaited_from_the_beginning() -> None:
    silence = Silence()
    for _ in range(100):
        for _ in range(SILENT_CHECKS - 1):
            assert not silence.is_dead(0, awaited=True)
        silence.restart()
