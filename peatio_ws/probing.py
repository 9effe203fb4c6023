"""What `check` asks of a broker and of Redis.

It leaves nothing behind: what it declares is there already, or goes with the connection. What the answers mean is
`diagnosis.py`'s.
"""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis, RedisError, ResponseError
from redis.backoff import NoBackoff
from redis.retry import Retry

from peatio_ws import diagnosis, findings
from peatio_ws.broker import open_connection
from peatio_ws.diagnosis import Server
from peatio_ws.events import EXCHANGES
from peatio_ws.findings import Finding
from peatio_ws.history_stream import ARGUMENTS
from peatio_ws.settings import Settings

STEP_SECONDS: Final = 5.0
"""For one answer, where that can be told."""


def broker(url: str, settings: Settings, what: str = "broker") -> Iterator[Finding]:
    """One broker: whether it lets us in, and whether what is on it is what the gateway needs.

    Args:
        what: it is called, where there are several.
    """
    if settings.embedded:
        yield Finding("broker", None, "inside the process: nothing to try")
        return
    connection = open_connection(url)
    known = connection.info()
    server = Server(
        what,
        f"{known['hostname']}:{known['port']}",
        "AMQP_URL, or RABBITMQ_HOST and its like",
        known["userid"] or "guest",
        known["virtual_host"] or "/",
    )
    try:
        link = connection.transport.establish_connection()
    except Exception as error:  # whatever it is, it is told
        yield diagnosis.refused(server, error)
        return
    try:
        yield diagnosis.let_in(server, link.server_properties)
        yield from _on_broker(server, link, settings)
    finally:
        with contextlib.suppress(Exception):
            link.close()


def _on_broker(server: Server, link: Any, settings: Settings) -> Iterator[Finding]:
    there = []
    for name, kind in EXCHANGES.items():
        error = _tried(link, functools.partial(_declare, name, kind, {"passive": True}))
        exists = error is None
        if exists:
            there.append(name)
            # Declared once more it stays as it is; the broker complains of any difference.
            error = _tried(link, functools.partial(_declare, name, kind, {"durable": settings.amqp_durable}))
        elif getattr(error, "reply_code", None) == 404:
            error = None
        yield diagnosis.exchange(server, name, kind, settings.amqp_durable, exists, error)
    yield diagnosis.own_queue(server, _tried(link, lambda channel: _own_queue(channel, there)))
    if settings.history == "stream":
        yield _history(server, link, settings.history_queue)
    else:
        yield Finding("history", None, f"AMQP_HISTORY={settings.history}: nothing to try")


def _declare(name: str, kind: str, how: Mapping[str, bool], channel: Any) -> None:
    channel.exchange_declare(name, kind, auto_delete=False, **how)


def _tried(link: Any, action: Callable[[Any], object]) -> Exception | None:
    """What the broker has against an action on a channel of its own; OSError if the connection breaks."""
    channel = link.channel()
    try:
        action(channel)
        channel.close()
    except Exception as error:
        if getattr(error, "reply_code", None) is None:
            raise
        return error
    return None


def _own_queue(channel: Any, exchanges: list[str]) -> None:
    """Declared, bound and read like a worker's; it goes with the connection."""
    name = f"peatio_ws.check.{uuid.uuid4().hex[:12]}"
    channel.queue_declare(name, durable=False, exclusive=True, auto_delete=True)
    for exchange in exchanges:
        channel.queue_bind(name, exchange, routing_key=name)
    channel.basic_get(name, no_ack=True)
    channel.queue_delete(name)


def _history(server: Server, link: Any, name: str) -> Finding:
    version = str(link.server_properties.get("version", ""))
    there = _tried(link, lambda channel: channel.queue_declare(name, passive=True)) is None
    if there:
        error = _tried(
            link,
            lambda channel: channel.queue_declare(name, durable=True, auto_delete=False, arguments=dict(ARGUMENTS)),
        )
    else:
        # No stream is exclusive: a broker that has streams says so, one that has none says that. Neither makes one.
        stream = {"x-queue-type": "stream"}
        error = _tried(
            link,
            lambda channel: channel.queue_declare(
                f"{name}.check", durable=True, exclusive=True, auto_delete=False, arguments=stream
            ),
        )
        if error is not None and "exclusive" in str(error):
            error = None
    return diagnosis.history(server, name, version, there, error)


# ---- Redis


def redis(settings: Settings) -> Iterator[Finding]:
    """The store that workers share, and its clock."""
    if settings.redis_url is None:
        yield Finding("redis", None, "REDIS_URL is not set: each worker keeps to itself what it could share")
        return
    parts = urlsplit(settings.redis_url)
    server = Server(
        "redis", parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}", "REDIS_URL"
    )
    client = Redis.from_url(
        settings.redis_url,
        socket_timeout=STEP_SECONDS,
        socket_connect_timeout=STEP_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        client.ping()
        yield diagnosis.redis_found(server, _version(client))
        before = time.time()
        seconds, microseconds = client.time()
        yield findings.clock(seconds + microseconds / 1e6 - (before + time.time()) / 2)
    except (RedisError, OSError) as error:
        yield diagnosis.redis_failed(server, error)
    finally:
        client.close()


def _version(client: Any) -> str | None:
    try:
        return str(client.info("server")["redis_version"])
    except (ResponseError, KeyError):
        return None
