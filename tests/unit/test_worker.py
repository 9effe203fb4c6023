"""A worker that is told to end while it starts ends, and nothing else does."""

from __future__ import annotations

import signal
from typing import Any

import gevent
import pytest
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker

from peatio_ws import worker as room
from peatio_ws.worker import Worker


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("begun", [True, False])
def test_it_drains_whenever_it_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch, how: signal.Signals, begun: bool
) -> None:
    worker: Any = object.__new__(Worker)
    worker.alive, worker.cfg = True, type("Config", (), {"graceful_timeout": 5})
    drained: list[bool] = []

    def tell() -> None:
        worker.handle_exit(how, None) if how is signal.SIGTERM else worker.handle_quit(how, None)

    def serve(self: Any) -> None:
        if begun:
            tell()
        gevent.sleep(0)

    monkeypatch.setattr(GeventWebSocketWorker, "run", serve)
    monkeypatch.setattr(room.Handler, "end_idle", lambda: drained.append(True))
    for name in ("set_threshold", "collect", "freeze"):
        monkeypatch.setattr(room.gc, name, lambda *_: None)
    if not begun:
        tell()
    worker.run()
    assert not worker.alive
    assert drained


def test_a_fault_while_one_websocket_is_looked_after_ends_that_one() -> None:
    ended: list[bool] = []

    class Faulty:
        id = "of the faulty one"

        class outbox:
            @staticmethod
            def abort() -> None:
                ended.append(True)

        def tick(self, now: float) -> None:
            raise RuntimeError(now)

    faulty: Any = Faulty()
    room._look_after(faulty)
    assert ended
