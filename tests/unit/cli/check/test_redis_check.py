"""What `check` reads from Redis, including revocations, with a stand-in that answers at once.

The real Redis is tested in `tests/live/test_check.py`.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation
from peatio_ws.cli.check import redis_check, redis_probe
from peatio_ws.cluster import commands
from peatio_ws.cluster.redis_keys import REVOCATIONS_KEY
from peatio_ws.cluster.stored_revocations import PAGE
from tests.support.servers import free_port
from tests.unit.samples import settings

URL = {"REDIS_URL": "redis://localhost:6380/0"}


class Server:
    """A stand-in for Redis with revocations and a clock."""

    def __init__(self, rows: list[bytes] | None = None) -> None:
        self.rows = rows or []
        self.ahead = 0.0
        self.pages: list[tuple[int, int]] = []
        self.closed = False
        self.error: Exception | None = None
        self.info_error: Exception | None = None

    def ping(self) -> bool:
        if self.error is not None:
            raise self.error
        return True

    def info(self, _section: str) -> dict[str, Any]:
        if self.info_error is not None:
            raise self.info_error
        return {"redis_version": "7.0.15"}

    def time(self) -> tuple[int, int]:
        seconds = time.time() + self.ahead
        return int(seconds), int(seconds % 1 * 1e6)

    def zrevrange(self, key: str, first: int, last: int) -> list[bytes]:
        if self.error is not None:
            raise self.error
        if key != REVOCATIONS_KEY:
            return []
        self.pages.append((first, last))
        return self.rows[first : last + 1]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(redis_check, "open_client", lambda *_: made)
    monkeypatch.setattr(redis_probe, "probe", lambda *_: iter(()))
    return made


def found(**environ: str) -> list[tuple[bool | None, str]]:
    return [(finding.ok, finding.text) for finding in redis_check.redis(settings(**environ))]


def test_without_redis_url_nothing_is_tried() -> None:
    ((ok, text),) = found()
    assert ok is None
    assert "REDIS_URL is not set" in text


def test_healthy_redis_is_shown_with_its_version(server: Server) -> None:
    (version, clock) = found(**URL)
    assert (version[0], clock[0]) == (True, True)
    assert "localhost:6380" in version[1]
    assert "7.0.15" in version[1]
    assert server.closed


def test_different_clock_of_redis_is_wrong(server: Server) -> None:
    server.ahead = 3600
    assert [ok for ok, _ in found(**URL)] == [True, False]


@pytest.mark.parametrize("error", [redis.ResponseError("NOPERM"), KeyError("redis_version")])
def test_missing_version_is_harmless(server: Server, error: Exception) -> None:
    server.info_error = error
    assert len(found(**URL)) == 2


@pytest.mark.parametrize("error", [redis.ConnectionError("x"), redis.AuthenticationError("x"), OSError("x")])
def test_refused_login_at_redis_is_wrong(server: Server, error: Exception) -> None:
    server.error = error
    assert [ok for ok, _ in found(**URL)] == [False]
    assert server.closed


def test_port_without_redis_is_reported() -> None:
    port = free_port()
    ((ok, text),) = found(REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert ok is False
    assert f"127.0.0.1:{port}" in text


# ---- revocations


def revoked(number: int) -> Revocation:
    return Revocation(f"ID{number}", time.time() + 3600)


def test_revocations_of_all_pages_are_read(server: Server) -> None:
    server.rows = [commands.encode(revoked(number)) for number in range(PAGE + 1)] + [b"not a revocation"]
    read = redis_check.revocations(settings(**URL))
    assert read is not None
    assert len(read) == PAGE + 1
    assert server.pages == [(0, PAGE - 1), (PAGE, 2 * PAGE - 1)]
    assert server.closed


def test_number_of_revocations_read_is_bounded(server: Server) -> None:
    server.rows = [b""] * (REVOCATIONS_KEPT + 5 * PAGE)
    redis_check.revocations(settings(**URL))
    assert server.pages[-1][1] < REVOCATIONS_KEPT + PAGE


def test_revocations_that_cannot_be_read_are_unknown(server: Server) -> None:
    server.error = redis.ConnectionError("gone")
    assert redis_check.revocations(settings(**URL)) is None
    assert redis_check.revocations(settings()) is not None, "without Redis there are no revocations"
