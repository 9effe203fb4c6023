"""How `check` tests a Redis that accepted the login: each kind of request that the gateway makes.

Leaves nothing behind: it uses separate keys that expire or are deleted. Decides by the codes of error replies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import redis

from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.cluster.redis_connection import STREAMS_SINCE, code_of, numbers
from peatio_ws.cluster.redis_keys import (
    BOOKS_KEY,
    COMMANDS_CHANNEL,
    FAILURES_KEY,
    MEMBERS_KEY,
    ORDERS_KEY,
    PROBE_KEY,
    REVOCATIONS_KEY,
    SLOTS_KEY,
)

_NAME: Final = "check"
_ACL: Final = "its user (ACL) needs `+@all ~peatio:* ~peatio_ws:* &peatio_ws:*`"
_REMEDIES: Final = {
    "READONLY": "it is a replica: set REDIS_URL to the primary, or to an address that follows it",
    "OOM": "it is full: raise maxmemory, or choose maxmemory-policy volatile-ttl",
    "MISCONF": "it cannot save to its disk: see its log",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write",
    "MASTERDOWN": "it is a replica that has lost its primary: set REDIS_URL to the primary",
    "NOPERM": _ACL,
    "WRONGTYPE": "another program uses this key: give the gateways a separate database or Redis",
}


def probe(client: redis.Redis, server: Server, version: str | None) -> Iterator[Finding]:
    """Try what the gateway does. Yields nothing if all is well.

    Args:
        version: of Redis, if known.
    """
    known = numbers(version) if version else None
    if known is not None and known < STREAMS_SINCE:
        text = f"{server.place}: Redis {version} has no streams: workers do not share the latest orders"
        yield Finding(server.what, None, text, "upgrade to Redis 5 or later")
    reported: set[str] = set()
    for request, ask in _requests(client, known):
        try:
            ask()
        except redis.ResponseError as error:
            code = code_of(error)
            if code in reported and code in ("READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN"):
                continue  # this code concerns the server: report it once
            reported.add(code)
            text = f"{server.place}: refuses {request} ({code})"
            yield Finding(server.what, False, text, _REMEDIES.get(code, f"its log may say more; {_ACL}"))


def _requests(client: redis.Redis, version: tuple[int, ...] | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "writes", lambda: client.set(PROBE_KEY, b"", px=1)
    yield f"reading member ids from {MEMBERS_KEY}", lambda: client.hmget(MEMBERS_KEY, [_NAME])
    if version is None or version >= STREAMS_SINCE:
        yield f"reading orders from {ORDERS_KEY}", lambda: client.xrevrange(ORDERS_KEY, count=1)
    yield f"reading books from {BOOKS_KEY}", lambda: client.hkeys(BOOKS_KEY)
    yield f"reading revocations from {REVOCATIONS_KEY}", lambda: client.zrevrange(REVOCATIONS_KEY, 0, 0)
    yield (
        f"counting connections in {SLOTS_KEY}…",
        lambda: _run(
            client,
            lambda pipe: pipe.zadd(SLOTS_KEY + _NAME, {_NAME: 0}).zcard(SLOTS_KEY + _NAME).delete(SLOTS_KEY + _NAME),
        ),
    )
    key = FAILURES_KEY + _NAME
    yield (
        f"counting failed tokens in {FAILURES_KEY}…",
        lambda: _run(client, lambda pipe: pipe.set(key, 0, ex=1, nx=True).incrby(key, 1).pttl(key).delete(key)),
    )
    yield "publishing on channels", lambda: client.publish(PROBE_KEY, _NAME)
    yield f"subscribing to the channel {COMMANDS_CHANNEL}", lambda: _subscribe(client)


def _run(client: redis.Redis, fill: Callable[[Any], Any]) -> None:
    with client.pipeline(transaction=False) as pipe:
        fill(pipe)
        for answer in pipe.execute(raise_on_error=False):
            if isinstance(answer, Exception):
                raise answer


def _subscribe(client: redis.Redis) -> None:
    with client.pubsub() as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(COMMANDS_CHANNEL)
        listener.get_message(timeout=1.0)
