"""What `check` tries on Redis, and its findings, with a stand-in that refuses chosen commands.

The real Redis is tested in `tests/live/test_check.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from peatio_ws.cli.check.redis_probe import probe
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding

SERVER = Server("redis", "localhost:6379", "REDIS_URL")
READONLY = redis.ReadOnlyError("You can't write against a read only replica.")
NOPERM = redis.exceptions.NoPermissionError("this user has no permissions")
WRONGTYPE = redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


class Store:
    """A stand-in for Redis that records commands and answers some of them with an error."""

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.commands: list[tuple[str, Any]] = []
        self._answers: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def command(key: Any = None, *_: Any, **__: Any) -> Any:
            self.commands.append((name, key))
            if name in self.errors:
                raise self.errors[name]
            return 1

        return command

    def pipeline(self, transaction: bool) -> Pipe:
        return Pipe(self)

    def pubsub(self) -> Store:
        return self

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None: ...


class Pipe:
    """Collects every answer, including errors, as `execute(raise_on_error=False)` does."""

    def __init__(self, store: Store) -> None:
        self._store, self._answers = store, list[Any]()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., Pipe]:
        def command(*arguments: Any, **options: Any) -> Pipe:
            try:
                self._answers.append(getattr(self._store, name)(*arguments, **options))
            except redis.ResponseError as error:
                self._answers.append(error)
            return self

        return command

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return self._answers


def found(store: Store, version: str | None = "7.0.15") -> list[Finding]:
    return list(probe(store, SERVER, version))  # type: ignore[arg-type]


def test_a_redis_that_allows_everything_has_no_findings() -> None:
    store = Store()
    assert found(store) == []
    names = {name for name, _ in store.commands}
    assert {"set", "hmget", "xrevrange", "hkeys", "zrevrange", "zadd", "incrby", "publish", "subscribe"} <= names


def test_every_key_that_is_written_expires_or_is_deleted() -> None:
    store = Store()
    found(store)
    written = {key for name, key in store.commands if name in ("zadd", "incrby")}
    assert written == {key for name, key in store.commands if name == "delete"}
    assert all(key.endswith(":check") for key in written), "a key of another program was written"


def test_streams_are_not_probed_if_redis_has_none() -> None:
    store = Store()
    (finding,) = found(store, "4.0.10")
    assert finding.ok is None
    assert "xrevrange" not in {name for name, _ in store.commands}
    unknown = Store()
    assert found(unknown, None) == []
    assert "xrevrange" in {name for name, _ in unknown.commands}


def test_each_refused_command_is_reported_with_its_remedy() -> None:
    refusals = found(Store(hmget=NOPERM, zadd=WRONGTYPE, subscribe=NOPERM))
    assert [finding.ok for finding in refusals] == [False, False, False]
    texts = [finding.text for finding in refusals]
    assert "peatio:members" in texts[0]
    assert "(NOPERM)" in texts[0]
    assert "peatio_ws:connections:" in texts[1]
    assert "(WRONGTYPE)" in texts[1]
    assert "peatio_ws:steering" in texts[2]
    assert "ACL" in refusals[0].remedy
    assert "another program uses this key" in refusals[1].remedy


def test_a_refusal_of_the_whole_server_is_reported_once() -> None:
    (finding,) = found(Store(set=READONLY, zadd=READONLY, incrby=READONLY, publish=READONLY))
    assert "(READONLY)" in finding.text
    assert "replica" in finding.remedy


def test_a_refusal_for_another_reason_is_reported_too() -> None:
    assert len(found(Store(set=READONLY, zadd=READONLY, hmget=NOPERM))) == 2


def test_an_unknown_refusal_points_to_the_log_and_the_permissions() -> None:
    (finding,) = found(Store(hkeys=redis.ResponseError("SURPRISE")))
    assert "its log" in finding.remedy
    assert "ACL" in finding.remedy


def test_lost_connection_is_raised() -> None:
    with pytest.raises(redis.ConnectionError):
        found(Store(hkeys=redis.ConnectionError("gone")))
