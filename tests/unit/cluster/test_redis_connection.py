"""What the answers of Redis mean: an answer, a refusal or absence. The real one is in `tests/faults/test_redis.py`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from peatio_ws.cluster import redis_connection
from peatio_ws.cluster.redis_connection import PROBE, Link, State, code_of, named_version, numbers

NOWHERE = "redis://127.0.0.1:1/0"


def raising(error: Exception) -> Callable[[], Any]:
    def ask() -> Any:
        raise error

    return ask


ABSENT = [
    redis.ConnectionError("refused"),
    redis.TimeoutError("timed out"),
    OSError("gone"),
    redis.BusyLoadingError("Redis is loading the dataset in memory"),
    redis.AuthenticationError("Authentication required."),
]
REFUSED = [
    (redis.ReadOnlyError("You can't write against a read only replica."), "READONLY"),
    (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OOM"),
    (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "MISCONF"),
    (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "NOREPLICAS"),
    (redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "WRONGTYPE"),
    (redis.ResponseError("unknown command 'XADD'"), "ERR"),
    (redis.exceptions.NoPermissionError("this user has no permissions"), "NOPERM"),
]


@pytest.fixture
def link() -> Link:
    return Link(NOWHERE)


@pytest.mark.parametrize(("error", "code"), REFUSED)
def test_code_of_a_reply_is_read_and_not_its_text(error: Exception, code: str) -> None:
    assert code_of(error) == code


def test_what_is_no_reply_has_no_code() -> None:
    assert [code_of(error) for error in ABSENT] == ["", "", "", "LOADING", "NOAUTH"]


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("outcome", ["answer", "refusal", "absence"])
def test_every_outcome_in_every_state(link: Link, before: State, outcome: str) -> None:
    link._state = before
    if outcome == "answer":
        assert link.ask("reading", lambda: 1) == 1
    else:
        error = REFUSED[0][0] if outcome == "refusal" else ABSENT[0]
        assert link.ask("reading", raising(error)) is None
    assert link._state is (State.AWAY if outcome == "absence" else State.CONNECTED)
    assert link.generation == (before is State.AWAY and outcome != "absence"), "listeners subscribe again"


@pytest.mark.parametrize("error", ABSENT)
def test_absence_is_logged_once_and_so_is_the_return(link: Link, error: Exception) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            link.ask("reading", raising(error))
        assert link.away
        for _ in range(3):
            link.ask("reading", lambda: 1)
        assert link.connected
    assert [line["log_level"] for line in lines] == ["warning", "info"]


@pytest.mark.parametrize(("error", "code"), REFUSED)
def test_refusal_is_not_absence_and_is_logged_once(link: Link, error: Exception, code: str) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            assert link.ask("writing", raising(error)) is None
            assert link.ask("reading", lambda: [1]) == [1]
        assert link.connected
        assert link.refused == {code}
    assert [(line["code"], line["log_level"]) for line in lines] == [(code, "warning")]
    assert "snapshots" not in str(lines)


def test_refusal_is_over_after_a_while_without_one(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(redis_connection.time, "monotonic", lambda: float(next(clock)))
    with capture_logs() as lines:
        for error, _ in REFUSED[:4]:
            link.ask("writing", raising(error))
        link.ask("writing", lambda: 1)
        assert link.refused == {"READONLY", "OOM", "MISCONF", "NOREPLICAS"}, "said of the server: a probe has to tell"
        for _ in range(9):
            link.ask(PROBE, lambda: 1)
        assert not link.refused
    assert [line["log_level"] for line in lines] == ["warning"] * 4 + ["info"] * 4
    assert link.generation == 1, "another primary may have answered: once"


def test_one_error_in_a_pipeline_is_a_refusal_and_no_command_is_logged(link: Link) -> None:
    class Pipe:
        def execute(self, raise_on_error: bool) -> list[Any]:
            assert not raise_on_error
            return [1, REFUSED[0][0], 3]

    assert link.run("writing", Pipe()) is None
    assert link.refused == {"READONLY"}


def test_an_answer_since_the_request_began_outweighs_its_failure(link: Link) -> None:
    def overtaken() -> Any:
        assert link.ask("reading", lambda: 1) == 1
        raise redis.TimeoutError

    assert link.ask("reading", overtaken) is None
    assert link.connected


@pytest.mark.parametrize(
    ("info", "told", "streams"),
    [
        ({"redis_version": "4.0.10"}, ("Redis", "4.0.10"), False),
        ({"redis_version": "5.0.14"}, ("Redis", "5.0.14"), True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, ("Valkey", "9.1.2"), True),
        ({}, ("Redis", "unknown"), True),
    ],
)
def test_version_is_found_out(link: Link, info: dict[str, Any], told: tuple[str, str], streams: bool) -> None:
    assert named_version(info) == told
    link.version = numbers(str(info.get("redis_version", "")))
    assert link.has_streams is streams


def test_another_server_under_the_same_address_is_noticed(link: Link) -> None:
    class Server:
        run_id = "a"

        def info(self, _section: str) -> dict[str, Any]:
            return {"redis_version": "7.0.15", "run_id": self.run_id}

        def set(self, *_: Any, **__: Any) -> bool:
            return True

    server = Server()
    link.redis = server  # type: ignore[assignment]
    generations = []
    for server.run_id in ("a", "a", "b", "b"):
        link._probe_at = 0.0
        link.tend()
        generations.append(link.generation)
    assert generations == [0, 0, 1, 1]


def test_a_server_that_does_not_tell_which_it_is_is_asked_once(link: Link) -> None:
    class Server:
        asked = 0

        def info(self, _section: str) -> dict[str, Any]:
            self.asked += 1
            raise redis.exceptions.NoPermissionError("this user has no permissions")

        def set(self, *_: Any, **__: Any) -> bool:
            return True

    link.redis = server = Server()  # type: ignore[assignment]
    for _ in range(3):
        link._probe_at = 0.0
        link.tend()
    assert server.asked == 1
    assert link.has_streams
