"""How `check` tests the Sentinels in `REDIS_URL`: each has to answer, know the name, and name the same primary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from redis import RedisError

from peatio_ws.cli.check import remedies
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.cluster.redis_client import open_sentinel
from peatio_ws.config.sentinel_url import SentinelUrl

WHAT: Final = "sentinel"


def sentinels(url: SentinelUrl, seconds: float) -> Iterator[Finding]:
    """Yield a finding for each Sentinel.

    Args:
        seconds: time limit of an answer.
    """
    primaries = set[str]()
    for host, port in url.sentinels:
        server = Server(WHAT, f"{host}:{port}", "REDIS_URL (sentinel_password is the password of Sentinel itself)")
        client = open_sentinel(url, (host, port), seconds)
        try:
            known: Any = client.sentinel_masters()
        except (RedisError, OSError) as error:
            yield remedies.redis_failed(server, error, connecting=True)
            continue
        finally:
            client.close()
        if url.name in known:
            primaries.add(f"{known[url.name]['ip']}:{known[url.name]['port']}")
        yield finding(server.place, url.name, known)
    if len(primaries) > 1:
        text = f"the Sentinels name several primaries: {', '.join(sorted(primaries))}"
        yield Finding(
            WHAT,
            False,
            text,
            "let all Sentinels in REDIS_URL watch the same servers; or try again, if a failover is under way",
        )


def finding(place: str, name: str, known: dict[str, Any]) -> Finding:
    """Return the finding of a Sentinel that knows these primaries."""
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        return Finding(
            WHAT, False, f"{place}: does not know {name}", f"correct the name in REDIS_URL; it knows {names}"
        )
    state = known[name]
    text = (
        f"{place}: {name} is at {state['ip']}:{state['port']}, with {state['num-slaves']} replicas and "
        f"{state['num-other-sentinels']} other Sentinels"
    )
    if state["is_sdown"] or state["is_odown"]:
        return Finding(WHAT, False, f"{text}; it is down", "start it, or wait for the failover")
    if not state["num-slaves"]:
        return Finding(WHAT, False, text, "without a replica no failover is possible: add one")
    if state["num-other-sentinels"] + 1 < state["quorum"]:
        return Finding(WHAT, False, f"{text}; the quorum is {state['quorum']}", "start more Sentinels, or lower it")
    return Finding(WHAT, True, text)
