"""What an answer of Redis means: success, a refusal, or an unreachable server.

The real Redis is tested in `tests/faults/test_redis.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from peatio_ws.cluster import redis_connection
from peatio_ws.cluster.redis_connection import PROBE, RedisConnection, RedisStatus, code_of, named_version, numbers

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
def connection() -> RedisConnection:
    return RedisConnection(NOWHERE)


@pytest.mark.parametrize(("error", "code"), REFUSED)
def test_code_of_a_reply_is_read_and_not_its_text(error: Exception, code: str) -> None:
    assert code_of(error) == code


def test_error_that_is_not_a_reply_has_no_code() -> None:
    assert [code_of(error) for error in ABSENT] == ["", "", "", "LOADING", "NOAUTH"]


@pytest.mark.parametrize("before", list(RedisStatus))
@pytest.mark.parametrize("outcome", ["answer", "refusal", "absence"])
def test_every_outcome_in_every_state(connection: RedisConnection, before: RedisStatus, outcome: str) -> None:
    connection._state = before
    if outcome == "answer":
        assert connection.ask("reading", lambda: 1) == 1
    else:
        error = REFUSED[0][0] if outcome == "refusal" else ABSENT[0]
        assert connection.ask("reading", raising(error)) is None
    assert connection._state is (RedisStatus.UNREACHABLE if outcome == "absence" else RedisStatus.CONNECTED)
    assert connection.generation == (before is RedisStatus.UNREACHABLE and outcome != "absence"), (
        "a new generation makes listeners subscribe again"
    )


@pytest.mark.parametrize("error", ABSENT)
def test_outage_and_recovery_are_logged_once(connection: RedisConnection, error: Exception) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            connection.ask("reading", raising(error))
        assert connection.unreachable
        for _ in range(3):
            connection.ask("reading", lambda: 1)
        assert connection.connected
    assert [line["log_level"] for line in lines] == ["warning", "info"]


@pytest.mark.parametrize(("error", "code"), REFUSED)
def test_refusal_is_not_an_outage_and_is_logged_once(connection: RedisConnection, error: Exception, code: str) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            assert connection.ask("writing", raising(error)) is None
            assert connection.ask("reading", lambda: [1]) == [1]
        assert connection.connected
        assert connection.refused == {code}
    assert [(line["code"], line["log_level"]) for line in lines] == [(code, "warning")]
    assert "snapshots" not in str(lines)


def test_refusal_ends_after_some_time_without_another(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(redis_connection.time, "monotonic", lambda: float(next(clock)))
    with capture_logs() as lines:
        for error, _ in REFUSED[:4]:
            connection.ask("writing", raising(error))
        connection.ask("writing", lambda: 1)
        assert connection.refused == {"READONLY", "OOM", "MISCONF", "NOREPLICAS"}, (
            "these states of the server end only after a successful probe"
        )
        for _ in range(9):
            connection.ask(PROBE, lambda: 1)
        assert not connection.refused
    assert [line["log_level"] for line in lines] == ["warning"] * 4 + ["info"] * 4
    assert connection.generation == 1, "a new primary may have answered: exactly one new generation"


def test_error_in_a_pipeline_is_a_refusal(connection: RedisConnection) -> None:
    class Pipe:
        def execute(self, raise_on_error: bool) -> list[Any]:
            assert not raise_on_error
            return [1, REFUSED[0][0], 3]

    assert connection.run("writing", Pipe()) is None
    assert connection.refused == {"READONLY"}


def test_failed_request_does_not_outweigh_a_newer_answer(connection: RedisConnection) -> None:
    def overtaken() -> Any:
        assert connection.ask("reading", lambda: 1) == 1
        raise redis.TimeoutError

    assert connection.ask("reading", overtaken) is None
    assert connection.connected


@pytest.mark.parametrize(
    ("info", "expected", "streams"),
    [
        ({"redis_version": "4.0.10"}, ("Redis", "4.0.10"), False),
        ({"redis_version": "5.0.14"}, ("Redis", "5.0.14"), True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, ("Valkey", "9.1.2"), True),
        ({}, ("Redis", "unknown"), True),
    ],
)
def test_version_is_read(
    connection: RedisConnection, info: dict[str, Any], expected: tuple[str, str], streams: bool
) -> None:
    assert named_version(info) == expected
    connection.version = numbers(str(info.get("redis_version", "")))
    assert connection.has_streams is streams


@pytest.fixture
def drops(connection: RedisConnection, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The generation in which all connections were replaced, for each time."""
    made: list[int] = []
    monkeypatch.setattr(connection._pool, "drop", lambda: made.append(connection.generation))
    return made


def test_other_server_at_the_same_address_is_noticed(connection: RedisConnection, drops: list[int]) -> None:
    class Server:
        run_id = "a"

        def info(self, _section: str) -> dict[str, Any]:
            return {"redis_version": "7.0.15", "run_id": self.run_id}

        def set(self, *_: Any, **__: Any) -> bool:
            return True

    server = Server()
    connection.redis = server  # type: ignore[assignment]
    generations = []
    for server.run_id in ("a", "a", "b", "b"):
        connection._probe_at = 0.0
        connection.maintain()
        generations.append(connection.generation)
    assert generations == [0, 0, 1, 1]
    assert drops == [0], "idle connections may still be at the old server"


def test_server_without_run_id_is_asked_once(connection: RedisConnection) -> None:
    class Server:
        asked = 0

        def info(self, _section: str) -> dict[str, Any]:
            self.asked += 1
            raise redis.exceptions.NoPermissionError("this user has no permissions")

        def set(self, *_: Any, **__: Any) -> bool:
            return True

    connection.redis = server = Server()  # type: ignore[assignment]
    for _ in range(3):
        connection._probe_at = 0.0
        connection.maintain()
    assert server.asked == 1
    assert connection.has_streams


def test_another_primary_of_sentinel_begins_a_generation(
    connection: RedisConnection, drops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bool | Exception] = [False, True, redis.ConnectionError("no Sentinel answers"), False]

    def has_moved() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(connection._pool, "has_moved", has_moved)
    generations = []
    while answers:
        connection._probe_at = 0.0
        connection.maintain()
        generations.append(connection.generation)
    assert generations == [0, 1, 1, 1]
    assert drops == [0]
