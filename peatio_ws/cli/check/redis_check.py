"""How `check` tests Redis. `remedies.py` interprets the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from peatio_ws.auth.revocations import Revocations
from peatio_ws.cli.check import redis_probe, remedies, report
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.cluster import stored_revocations
from peatio_ws.config.settings import Settings

STEP_SECONDS: Final = 5.0
"""Time limit of one answer, where it can be set."""


def redis(settings: Settings) -> Iterator[Finding]:
    """Check the store that workers share, and its clock."""
    if settings.redis_url is None:
        yield Finding("redis", None, "REDIS_URL is not set: workers share no state")
        return
    parts = urlsplit(settings.redis_url)
    server = Server(
        "redis", parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}", "REDIS_URL"
    )
    client = _client(settings.redis_url)
    connecting = True
    try:
        client.ping()
        connecting = False
        version = _version(client)
        yield remedies.redis_found(server, version)
        yield from redis_probe.probe(client, server, version)
        before = time.time()
        seconds, microseconds = client.time()
        yield report.clock(seconds + microseconds / 1e6 - (before + time.time()) / 2)
    except (RedisError, OSError) as error:
        yield remedies.redis_failed(server, error, connecting)
    finally:
        client.close()


def revocations(settings: Settings) -> Revocations | None:
    """Return the tokens that the gateways refuse although they verify; None if Redis cannot be asked."""
    if settings.redis_url is None:
        return Revocations()
    client = _client(settings.redis_url)
    try:
        return stored_revocations.read_all(client, settings.jwt_issued_at_leeway)[0]
    except (RedisError, OSError):
        return None
    finally:
        client.close()


def _client(url: str) -> Redis:
    return Redis.from_url(
        url,
        protocol=2,  # Redis 5 has no HELLO
        socket_timeout=STEP_SECONDS,
        socket_connect_timeout=STEP_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _version(client: Any) -> str | None:
    try:
        return str(client.info("server")["redis_version"])
    except (ResponseError, KeyError):
        return None
