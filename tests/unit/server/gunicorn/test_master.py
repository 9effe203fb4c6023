"""The gateway's additions to gunicorn's master."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import structlog
from gunicorn import arbiter
from structlog.testing import capture_logs

from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import metrics_folder
from peatio_ws.server.gunicorn import master as room
from peatio_ws.server.operator_port import listener
from tests.support.descriptors import no_descriptors
from tests.support.gateway import ROOT


def test_master_checks_its_workers_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arbiter, "time", arbiter.time)
    room._poll_often()
    with gevent.Timeout(10):
        arbiter.time.sleep(1000)
    assert arbiter.time.monotonic() <= arbiter.time.monotonic()
    assert arbiter.time.time() > 0


class App:
    """An application that loads its configuration like gunicorn's, or fails to."""

    def __init__(self, failure: BaseException | None = None, at: str = "reload") -> None:
        self.cfg: Any = SimpleNamespace(address=[], is_ssl=False, env={})
        self._failure, self._at = failure, at

    def reload(self) -> None:
        self._fail("reload")

    def wsgi(self) -> None:
        self._fail("wsgi")

    def _fail(self, at: str) -> None:
        if self._failure is not None and self._at == at:
            raise self._failure


def of(app: App) -> Any:
    return SimpleNamespace(app=app, cfg=app.cfg, pid=os.getpid())


def reloaded(with_master: Any, reload: Any) -> list[str]:
    """Reload and return the logged faults."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        room._reload(with_master, reload)
    return [line["fault"] for line in lines]


FAILURES: dict[str, tuple[BaseException, list[str]]] = {
    "settings": (ConfigurationError(["A is wrong", "B is wrong"]), ["A is wrong", "B is wrong"]),
    "gunicorn.conf.py": (SystemExit("configuration: A is wrong\nconfiguration: B"), ["A is wrong", "B"]),
    "a bug": (KeyError("name\nmore"), ["KeyError: 'name\\nmore'"]),
    "no word": (SystemExit(1), ["cannot be loaded"]),
}


@pytest.mark.parametrize("at", ["reload", "wsgi"])
@pytest.mark.parametrize("what", FAILURES)
def test_reload_that_would_fail_is_not_started(what: str, at: str) -> None:
    failure, faults = FAILURES[what]
    begun: list[bool] = []
    assert reloaded(of(App(failure, at)), lambda: begun.append(True)) == faults
    assert begun == []


def test_reload_without_a_process_for_its_check_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    begun: list[bool] = []
    (fault,) = reloaded(of(App()), lambda: begun.append(True))
    assert "Resource temporarily unavailable" in fault
    assert begun == []


CHECK = """
import os
from types import SimpleNamespace
from peatio_ws.server.gunicorn import master
from tests.support.descriptors import no_descriptors

pipe = os.pipe()
os.pipe = lambda: pipe
with no_descriptors():
    faults = master._validate_in_child(SimpleNamespace(cfg=SimpleNamespace(address=[])))
print("goes on", faults, flush=True)  # the child would end the workers
"""


def test_check_without_a_file_descriptor_ends_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("goes on") == 1
    assert "Too many open files" in done.stdout


def test_reload_without_a_file_descriptor_for_its_check_is_refused() -> None:
    begun: list[bool] = []
    with no_descriptors():
        (fault,) = reloaded(of(App()), lambda: begun.append(True))
    assert "Too many open files" in fault
    assert begun == []


@pytest.mark.parametrize(
    ("end", "reason"),
    [(lambda: os._exit(3), "status 3"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL")],
    ids=["exit", "out of memory"],
)
def test_check_that_ends_without_a_result_is_reported_with_its_end(end: Callable[[], None], reason: str) -> None:
    app = App()
    app.wsgi = end  # type: ignore[method-assign]
    (fault,) = reloaded(of(app), lambda: None)
    assert reason in fault


def test_worker_that_cannot_be_started_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception | None] = [None, OSError(12, "Cannot allocate memory"), RuntimeError("no folder"), None]

    def spawn() -> int:
        if (failure := failures.pop(0)) is not None:
            raise failure
        return 7

    structlog.reset_defaults()
    spawner = room.Spawner(SimpleNamespace(pid=os.getpid(), num_workers=2, WORKERS={8: "another"}), spawn)
    monkeypatch.setattr(room, "ALONE_SECONDS", 0.0)
    with capture_logs() as lines:
        assert [spawner() for _ in range(4)] == [7, None, None, 7]
    assert [(line["event"], line["fault"]) for line in lines] == [
        ("worker cannot be started", "OSError: [Errno 12] Cannot allocate memory")
    ]


@pytest.mark.parametrize(
    ("started", "tries", "own", "ends"),
    [
        (False, 0, True, True),
        (True, 0, True, False),
        (True, 30, True, False),
        (True, 31, True, True),
        (True, 0, False, True),
    ],
    ids=["at the start", "later", "for a while", "for long", "in a worker"],
)
def test_gateway_that_stays_without_a_worker_ends(
    started: bool, tries: int, own: bool, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: now))
    results = [7] if started else []

    def spawn() -> int:
        if not results:
            raise OSError(12, "Cannot allocate memory")
        return results.pop()

    spawner = room.Spawner(SimpleNamespace(pid=os.getpid() if own else 1, num_workers=1, WORKERS={}), spawn)
    if started:
        assert spawner() == 7
        now += 86_400
    for _ in range(tries):
        assert spawner() is None
        now += 1
    with pytest.raises(OSError, match="12") if ends else contextlib.nullcontext():
        spawner()


def test_reload_that_cannot_start_a_worker_ends_at_once() -> None:
    """gunicorn would wait for its old worker, up to the time limit of a drain, and would not try again."""
    results = [7]

    def spawn() -> int:
        if not results:
            raise OSError(12, "Cannot allocate memory")
        return results.pop()

    running = of(App())
    running.WORKERS, running.num_workers = dict[int, str](), 1
    spawner = room.Spawner(running, spawn)
    running.WORKERS[spawner()] = "old"
    waited: list[bool] = []

    def reload() -> None:
        spawner()
        waited.append(True)

    (fault,) = reloaded(running, reload)
    assert "Cannot allocate memory" in fault
    assert waited == []


def test_valid_reload_is_carried_out() -> None:
    begun: list[bool] = []
    assert reloaded(of(App()), lambda: begun.append(True)) == []
    assert begun == [True]


@pytest.mark.parametrize(
    ("successor", "predecessor", "announced"), [(0, 0, 1), (7, 0, 0), (0, 7, 0)], ids=["alone", "old", "new"]
)
def test_end_is_announced_unless_another_master_shares_the_sockets(
    successor: int, predecessor: int, announced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_is_last", flag := bytearray(1))
    seen: list[tuple[bool, int]] = []
    master = SimpleNamespace(reexec_pid=successor, master_pid=predecessor)
    room._stop(master, lambda graceful: seen.append((graceful, flag[0])), False)
    assert seen == [(False, announced)]


@pytest.mark.parametrize(
    ("workers", "successor", "announced"), [(1, 0, 1), (2, 0, 0), (1, 7, 0)], ids=["alone", "another", "old"]
)
def test_ending_worker_knows_whether_others_answer(
    workers: int, successor: int, announced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without another one, the operator's port would not answer while a worker that ended by itself drains."""
    monkeypatch.setattr(listener, "_is_last", flag := bytearray(b"\7"))
    seen: list[int] = []
    master = SimpleNamespace(WORKERS=dict.fromkeys(range(workers)), reexec_pid=successor, master_pid=0)
    room._manage_workers(master, lambda: seen.append(flag[0]))
    assert seen == [announced]


@pytest.mark.parametrize("failure", [None, KeyError("name")])
def test_check_before_a_reload_leaves_no_metrics_folder(
    failure: BaseException | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MakesFolder(App):
        def reload(self) -> None:  # as gunicorn.conf.py does in another process than the one that made the folder
            os.environ[metrics_folder.VARIABLE] = metrics_folder.make()
            super().reload()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(metrics_folder.VARIABLE, masters := metrics_folder.make())
    reloaded(of(MakesFolder(failure)), lambda: None)
    assert [str(folder) for folder in tmp_path.iterdir()] == [masters]


def test_file_that_breaks_after_the_check_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    running = of(App())
    before = running.cfg
    before.env = {"PEATIO_WS_TEST_RELOAD": "as before"}
    monkeypatch.delenv("PEATIO_WS_TEST_RELOAD", raising=False)

    def reload() -> None:
        running.app.cfg = "half of it"
        raise SystemExit("configuration: A is wrong")

    assert reloaded(running, reload) == ["A is wrong"]
    assert running.app.cfg is before
    assert os.environ["PEATIO_WS_TEST_RELOAD"] == "as before"


def test_exit_of_a_worker_during_a_reload_is_not_caught() -> None:
    def end() -> None:
        raise SystemExit(0)

    running = of(App())
    running.pid = 1  # called in another process
    with pytest.raises(SystemExit):
        room._reload(running, end)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"systemd": True}, "restart the unit"),
        ({"notify": True}, "restart the unit"),
        ({"pid": 1}, "another container"),
        ({"reuse_port": True}, "another gateway"),
    ],
)
def test_successor_is_started_where_it_survives(
    changes: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if "notify" in changes:
        monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setattr(os, "getpid", lambda: changes.get("pid", 1000))
    cfg = SimpleNamespace(reuse_port="reuse_port" in changes)
    started: list[bool] = []
    structlog.reset_defaults()
    with capture_logs() as lines:
        room._start_successor(SimpleNamespace(cfg=cfg, systemd="systemd" in changes), lambda: started.append(True))
    assert started == ([] if reason else [True])
    assert [line["event"] for line in lines] == (["USR2 refused"] if reason else [])
    assert all(str(reason) in line["fault"] for line in lines)


SUCCESSOR = """
import os, sys
from types import SimpleNamespace
from peatio_ws.server.gunicorn import master

def reexec():  # as gunicorn's
    if sys.argv[1] == "fork":
        raise OSError(11, "Resource temporarily unavailable")
    if not os.fork():
        os.execvpe("/nowhere/python", ["python"], {})

running = SimpleNamespace(cfg=SimpleNamespace(reuse_port=False), systemd=False)
master._start_successor(running, reexec)
print("goes on", flush=True)  # the child would end the workers
"""


@pytest.mark.parametrize(("what", "reason"), [("fork", "temporarily unavailable"), ("exec", "/nowhere/python")])
def test_successor_that_cannot_be_started_ends_nothing(what: str, reason: str) -> None:
    """Such as after an upgrade that replaced the virtual environment, or removed the working folder."""
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    command = [sys.executable, "-c", SUCCESSOR, what]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.count("goes on") == 1
    assert "USR2 failed" in done.stdout
    assert reason in done.stdout
