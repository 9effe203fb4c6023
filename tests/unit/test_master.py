"""gunicorn's master, as a gateway has it."""

from __future__ import annotations

import gevent
import pytest
from gunicorn import arbiter

from peatio_ws import master


def test_it_looks_often_whether_its_workers_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arbiter, "time", arbiter.time)
    master._look_often()
    with gevent.Timeout(10):
        arbiter.time.sleep(1000)
    assert arbiter.time.monotonic() <= arbiter.time.monotonic()
    assert arbiter.time.time() > 0
