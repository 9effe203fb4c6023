"""Answers of the operator's HTTP interface that real gateways do not give on request: many gateways, all kinds of
problems, and hostile texts wherever clients choose a text. Each answer matches docs/openapi.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Route

from tests.support.openapi import template, validator

HOSTILE: Final = "<img src=x onerror=hacked=1>\u202e\u0000 'x' \"y\" </td>" + "W" * 90
"""Text that would do harm as HTML or in an attribute, is read backwards, and has no place to break a line."""
VISIBLE: Final = HOSTILE.replace("\u202e", "\\u{202e}").replace("\u0000", "\\u{0}")
"""How the page shows it."""
CLOSES: Final = (
    (4413, "gateway", "too slow: more than 1048576 bytes waiting"),
    (1001, "client", ""),
    (4403, "gateway", "disconnected by the operator"),
    (1006, "nobody", ""),
    (4999, "client", HOSTILE),
    (1013, "gateway", "too many connections of this member; retry after 5"),
    (1011, "gateway", "internal error"),
)
REFUSALS: Final = ((None, "the signature does not verify"), (401, HOSTILE), (503, "Full."), (429, "Too many."))


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def worker(number: int, **other: Any) -> dict[str, Any]:
    problems = other.get("problems", [])
    return {
        "worker": number, "version": "0.1.0", "since": ago(300_000), "connections": 3120, "max_connections": 10_000,
        "members": 2400, "ready": not problems, "problems": problems, "lag_seconds": 0.004, "loop_delay_seconds": 0.006,
        "behind_seconds": 0, "cpu": 0.31, "memory_bytes": 121_000_000, "waiting_bytes": 0, "slow_clients": 0,
        "deliveries": 1000, "frames": 9000, "redis": True, **other,
    }  # fmt: skip


def gateways(hosts: int, workers: int, silent: int = 0) -> dict[str, Any]:
    """Return gateways; the second and third ones and one worker of the first one have problems."""
    found = [
        {
            "gateway": f"web{host}.exchange.internal:8080",
            "host": f"web{host}.exchange.internal",
            "workers": [worker(1000 * host + number) for number in range(workers)],
        }
        for host in range(1, hosts + 1)
    ]
    if hosts >= 3:
        found[0]["gateway"] = HOSTILE
        found[0]["workers"][0] = worker(
            1000, problems=["not connected to the broker"], loop_delay_seconds=1.5, redis=False
        )  # type: ignore[index]
        found[1]["workers"] = [worker(2000 + number, problems=["draining"], connections=0) for number in range(workers)]
        found[2]["workers"] = [
            worker(3000 + number, connections=9500, waiting_bytes=120_000_000, slow_clients=40, version="0.2.0")
            for number in range(workers)
        ]
    return {"gateways": found, "received_by": received(hosts * workers - silent, hosts, silent)}


def received(workers: int = 4, hosts: int = 2, silent: int = 0) -> dict[str, int]:
    return {"workers": workers, "gateways": hosts, "silent": silent}


def closes(count: int) -> dict[str, Any]:
    def place(number: int) -> dict[str, Any]:
        return {
            "at": ago(7 * number), "connection": f"c{number:011d}", "address": "2001:db8:85a3::8a2e:370:7334",
            "gateway": "web1.exchange.internal:8080", "worker": 1001,
        }  # fmt: skip

    ends = [(place(number), *CLOSES[number % len(CLOSES)]) for number in range(count)]
    refused = [(place(number), *REFUSALS[number % len(REFUSALS)]) for number in range(count)]
    return {
        "closes": [
            {**at, "code": code, "by": by, "reason": reason, "protocol": "ranger", "uid": HOSTILE, "seconds": 310.25}
            for at, code, by, reason in ends
        ],
        "refusals": [{**at, "status": status, "reason": reason} for at, status, reason in refused],
        "received_by": received(),
    }


def members(count: int) -> dict[str, Any]:
    names = [HOSTILE, *(f"ID{number:08d}" for number in range(1, count))][:count]
    found = [
        {"uid": uid, "connections": 1 + number % 3, "since": ago(60 * number), "gateways": ["web1:8080", "web2:8080"]}
        for number, uid in enumerate(names)
    ]
    return {"members": found, "anonymous": 230, "received_by": received()}


def member(uid: str) -> dict[str, Any]:
    streams = ["order", "trade", HOSTILE, *(f"market{number}.trades" for number in range(40))]
    found = [
        {
            "uid": uid, "connection": f"c{number:011d}", "protocol": "ranger", "address": "2001:db8::8a2e:370:7334",
            "since": ago(95 + 3600 * number), "waiting_bytes": 48_000 * number, "host": "web1", "gateway": "web1:8080",
            "worker": 1001, "streams": streams[: number * 30],
        }
        for number in range(3)
    ]  # fmt: skip
    return {"uid": uid, "connections": found, "received_by": received()}


def revocations() -> dict[str, Any]:
    whole = {"uid": HOSTILE, "jti": None, "issued_until": ago(300), "until": ago(-86_400 * 30)}
    one = {"uid": HOSTILE, "jti": HOSTILE, "issued_until": None, "until": ago(-86_400 * 29)}
    return {"revocations": [whole, one]}


def trace(count: int) -> str:
    """Return the lines of a trace, one of each kind several times, and one of a kind that the page does not know."""
    here = {"at": "2026-11-29T12:25:01.220Z", "gateway": "web1:8080", "worker": 1001, "connection": "a1b2c3d4e5f6"}
    client = {"uid": HOSTILE, "address": "2001:db8:85a3::8a2e:370:7334"}
    kinds: list[dict[str, Any]] = [
        {"kind": "connection", **client, "protocol": "ranger", "since": ago(95), "streams": [HOSTILE], "waiting": 0},
        {"kind": "refused", "what": "request", "status": 401, "reason": HOSTILE, "address": client["address"]},
        {"kind": "received", "what": HOSTILE, "bytes": 55, "body": '{"event":' + HOSTILE, "cut": True},
        {"kind": "subscribed", "streams": [HOSTILE], "total": 3},
        {"kind": "delivered", "stream": HOSTILE, "bytes": 118, "waiting": 48_000, "cursor": "c" * 60, "replayed": True},
        {"kind": "sent", "what": "success", "bytes": 44, "waiting": 0},
        {"kind": "resumed", "complete": False, "cursor": "c" * 60},
        {"kind": "pong", "by": "client", "milliseconds": 34.2},
        {"kind": "waiting", "waiting": 48_000},
        {"kind": "omitted", "lines": 12},
        {"kind": HOSTILE, "novelty": HOSTILE, "more": {"a": [HOSTILE]}},
        {"kind": "closed", **client, "code": 4999, "reason": HOSTILE, "by": "client", "seconds": 310.2,
         "messages": 3, "bytes_received": 120, "bytes_sent": 44_810},
    ]  # fmt: skip
    begin = {"kind": "begin", "at": here["at"], "target": {"uid": HOSTILE}, "seconds": 600, "bodies": True}
    lines = [{**begin, "received_by": received()}, *({**here, **kinds[number % len(kinds)]} for number in range(count))]
    return "".join(json.dumps(line) + "\n" for line in lines)


def playing(
    hosts: int = 3, workers: int = 2, silent: int = 1, online: int = 8, ends: int = 2 * len(CLOSES)
) -> Callable[[Route], None]:
    """Return what answers the page's requests instead of a gateway. Commands are not answered.

    By default each kind of row is there twice: Chromium takes 1 ms of CPU to check the contrast of a row.
    """

    checked = set[str]()  # the page asks every two seconds

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path == "/api/trace":
            return route.fulfill(status=200, content_type="application/x-ndjson", body=trace(24))
        answers: dict[str, Any] = {
            "/api/gateways": lambda: gateways(hosts, workers, silent),
            "/api/closes": lambda: closes(ends),
            "/api/members": lambda: members(online),
            "/api/revocations": revocations,
        }
        found = answers[path]() if path in answers else member(unquote(path.removeprefix("/api/members/")))
        if path not in checked:
            schema = ("responses", "200", "content", "application/json", "schema")
            validator("paths", template(path), "get", *schema).validate(found)
            checked.add(path)
        return route.fulfill(status=200, content_type="application/json", body=json.dumps(found))

    return answer
