"""How `check` tests Redis. `remedies.py` interprets the answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from redis import RedisError, ResponseError

from peatio_ws.auth.revocations import Revocations
from peatio_ws.cli.check import redis_hosts_check, redis_probe, remedies, report, sentinel_check
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.cluster import stored_revocations
from peatio_ws.cluster.redis_client import open_client
from peatio_ws.config.sentinel_url import is_sentinel, parse_sentinel_url
from peatio_ws.config.settings import Settings
from peatio_ws.config.urls import redis_hosts, redis_place

STEP_SECONDS: Final = 5.0
"""Time limit of one answer, where it can be set."""


def redis(settings: Settings) -> Iterator[Finding]:
    """Check the store that workers share, and its clock."""
    if settings.redis_url is None:
        yield remedies.redis_not_set(settings.workers)
        return
    place = redis_place(settings.redis_url)
    if is_sentinel(settings.redis_url):
        url = parse_sentinel_url(settings.redis_url)
        yield from sentinel_check.sentinels(url, STEP_SECONDS)
        place = f"primary {url.name}"
    elif len(redis_hosts(settings.redis_url)) > 1:
        yield from redis_hosts_check.servers(settings.redis_url, STEP_SECONDS)
    server = Server("redis", place, "REDIS_URL")
    client = open_client(settings.redis_url, STEP_SECONDS, "peatio_ws_check")
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
    client = open_client(settings.redis_url, STEP_SECONDS, "peatio_ws_check")
    try:
        return stored_revocations.read_all(client, settings.jwt_issued_at_leeway)[0]
    except (RedisError, OSError):
        return None
    finally:
        client.close()


def _version(client: Any) -> str | None:
    try:
        return str(client.info("server")["redis_version"])
    except (ResponseError, KeyError):
        return None
