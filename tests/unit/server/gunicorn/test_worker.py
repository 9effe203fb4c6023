"""A worker that has to exit notifies its clients and exits at once; nothing else ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from geventwebsocket.gunicorn.workers import GeventWebSocketWorker
from gunicorn.config import Config
from gunicorn.workers.ggevent import GeventWorker

from peatio_ws.server.gunicorn import worker as room
from peatio_ws.server.gunicorn.server import Server
from peatio_ws.server.gunicorn.worker import Worker
from peatio_ws.transport.http.request_handler import PendingRequest
from tests.support.certificate import Certificate

LIMIT = 10.0
"""Time limit in seconds for immediate effects."""

ENDS: dict[str, Callable[[Any], None]] = {
    "TERM": lambda worker: worker.handle_exit(signal.SIGTERM, None),
    "QUIT": lambda worker: worker.handle_quit(signal.SIGQUIT, None),
    "gunicorn's reloader": lambda worker: setattr(worker, "alive", False),
}


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Records the drains of a worker. The worker's interval is long: without a wake-up it would not end in time."""
    found: list[bool] = []
    monkeypatch.setattr(room, "NOTIFY_SECONDS", 1000.0)
    monkeypatch.setattr(room, "_drain", lambda: found.append(True))
    monkeypatch.setattr(Worker, "_servers", lambda self: [])
    monkeypatch.setattr(Server, "running", [])
    for name in ("set_threshold", "collect", "freeze"):
        monkeypatch.setattr(room.gc, name, lambda *_: None)
    return found


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: Any = object.__new__(Worker)
    made.cfg = type("Config", (), {"graceful_timeout": LIMIT})
    monkeypatch.setattr(GeventWorker, "notify", lambda self: None)
    with gevent.Timeout(LIMIT):
        yield made


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("begun", [True, False])
def test_worker_drains_at_once_when_it_has_to_exit(
    worker: Any, drained: list[bool], how: str, begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if begun:
        gevent.spawn(ENDS[how], worker)
    else:
        ENDS[how](worker)
    left: list[bool] = []
    monkeypatch.setattr(room.listener, "leave_to_others", lambda: left.append(not drained))
    worker.run()
    assert not worker.alive
    assert drained == left == [True]


def test_worker_drains_when_its_master_has_died(
    worker: Any, drained: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def notify(_: Any) -> None:
        raise SystemExit(0)

    left: list[bool] = []
    monkeypatch.setattr(GeventWorker, "notify", notify)
    monkeypatch.setattr(room.listener, "leave", lambda: left.append(not drained))
    worker.run()
    assert drained == [True]
    assert left[0], "the operator's port is left before the drain"


@pytest.mark.parametrize("content", [None, b"half of a certificate"])
def test_patient_worker_waits_for_a_certificate_that_is_being_replaced(
    worker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    """The master could not read it either, when it reloaded, so it has made no context for its workers."""
    files = Certificate(tmp_path)
    worker.cfg = Config()
    worker.cfg.set("certfile", str(files.cert))
    worker.cfg.set("keyfile", str(files.key))
    whole, faults = Path(files.cert).read_bytes(), list[Exception]()
    Path(files.cert).unlink()
    if content is not None:
        Path(files.cert).write_bytes(content)

    def wait(error: Exception) -> None:
        faults.append(error)
        Path(files.cert).write_bytes(whole)

    monkeypatch.setattr(GeventWebSocketWorker, "load_wsgi", lambda self: None)
    monkeypatch.setattr(Worker, "patient", True)
    monkeypatch.setattr(Server, "tls", None)
    monkeypatch.setattr(room.Handler, "settings", room.Handler.settings)
    monkeypatch.setattr(room.gevent, "spawn", lambda *_: None)
    worker._wait_for_settings = wait
    worker.load_wsgi()
    assert len(faults) == 1
    assert Server.tls is not None


def test_worker_waits_for_requests_not_for_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    server = type("Pooled", (), {"pool": {"kept", "being asked on", "a request", "a WebSocket"}})
    monkeypatch.setattr(Server, "running", [server])
    monkeypatch.setattr(
        room.Handler, "idle", {"kept": PendingRequest(True, 0.0), "being asked on": PendingRequest(False, 0.0)}
    )
    monkeypatch.setattr(room, "_served", lambda: ["a WebSocket"])
    assert room._requests() == 2
    server.pool -= {"a request", "being asked on"}
    assert room._requests() == 0


def test_failing_tick_ends_only_its_own_websocket() -> None:
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
    room._tick(faulty)
    assert ended
