"""How `check` tests several servers in `REDIS_URL`: each has to answer, and one of them has to be the primary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import RedisError, ResponseError

from peatio_ws.cli.check import remedies
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.cluster.redis_client import open_client
from peatio_ws.config.urls import redis_hosts, with_host


def servers(url: str, seconds: float) -> Iterator[Finding]:
    """Yield a finding for each server of a URL that names several.

    Args:
        seconds: time limit of an answer.
    """
    primaries = []
    for host, port in redis_hosts(url):
        place = f"{host}:{port}"
        client = open_client(with_host(url, (host, port)), seconds, "peatio_ws_check")
        try:
            role: Any = client.execute_command("ROLE")  # type: ignore[no-untyped-call]
        except ResponseError:
            yield Finding("redis", None, f"{place}: the user may not ask whether it is the primary (ROLE)")
            continue
        except (RedisError, OSError) as error:
            yield remedies.redis_failed(Server("redis", place, "REDIS_URL"), error, connecting=True)
            continue
        finally:
            client.close()
        if role[0] in (b"master", "master"):
            primaries.append(place)
            yield Finding("redis", True, f"{place}: is a primary")
        else:
            yield Finding("redis", True, f"{place}: is a replica")
    if len(primaries) > 1:
        text = f"several servers are primaries: {', '.join(primaries)}; the gateways use the first"
        yield Finding("redis", False, text, "make the others its replicas (REPLICAOF), or use Redis Sentinel")
    elif not primaries:
        remedy = "promote one of them (REPLICAOF NO ONE), or use Redis Sentinel"
        yield Finding("redis", False, "none of the servers is known to be a primary", remedy)
