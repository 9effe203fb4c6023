"""The gateway's additions to gunicorn's master."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import structlog
from gunicorn import arbiter
from structlog.testing import capture_logs

from peatio_ws.errors import ConfigurationError
from peatio_ws.server import gunicorn_master


def test_it_looks_often_whether_its_workers_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arbiter, "time", arbiter.time)
    gunicorn_master._poll_often()
    with gevent.Timeout(10):
        arbiter.time.sleep(1000)
    assert arbiter.time.monotonic() <= arbiter.time.monotonic()
    assert arbiter.time.time() > 0


class App:
    """Loads its configuration as gunicorn's does, or fails."""

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
    """The faults that are logged."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        gunicorn_master._reload(with_master, reload)
    return [line["fault"] for line in lines]


FAILURES: dict[str, tuple[BaseException, list[str]]] = {
    "settings": (ConfigurationError(["A is wrong", "B is wrong"]), ["A is wrong", "B is wrong"]),
    "gunicorn.conf.py": (SystemExit("configuration: A is wrong\nconfiguration: B"), ["A is wrong", "B"]),
    "a bug": (KeyError("name\nmore"), ["KeyError: 'name\\nmore'"]),
    "no word": (SystemExit(1), ["cannot be loaded"]),
}


@pytest.mark.parametrize("at", ["reload", "wsgi"])
@pytest.mark.parametrize("what", FAILURES)
def test_a_reload_that_would_fail_is_not_begun(what: str, at: str) -> None:
    failure, told = FAILURES[what]
    begun: list[bool] = []
    assert reloaded(of(App(failure, at)), lambda: begun.append(True)) == told
    assert begun == []


def test_a_reload_that_works_is_done() -> None:
    begun: list[bool] = []
    assert reloaded(of(App()), lambda: begun.append(True)) == []
    assert begun == [True]


def test_a_file_that_breaks_between_the_trial_and_the_reload_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_worker_that_ends_within_a_reload_ends() -> None:
    def end() -> None:
        raise SystemExit(0)

    running = of(App())
    running.pid = 1  # another process
    with pytest.raises(SystemExit):
        gunicorn_master._reload(running, end)
