"""What an operator's commands found, as objects for JSON: the same on the command line (`--json`) and over HTTP.

Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster.commands import Answer, WorkerId
from peatio_ws.monitoring.worker_reports import ClosedConnection, MemberConnection, Refusal, WorkerStatus

MOST_REPORTED: Final = 200
"""Ends, and refusals, of all workers together in one report."""

E = TypeVar("E", ClosedConnection, Refusal)


class Result(Protocol):
    """The part of an operator's `CommandResult` that is reported."""

    members: list[MemberConnection]
    places: dict[str, WorkerId]
    answers: list[Answer]

    @property
    def connections(self) -> int: ...


def iso_time(seconds: float) -> str:
    """Return a time in Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def connection(one: MemberConnection, place: WorkerId, streams: bool) -> dict[str, Any]:
    """Return a connection of a member."""
    return {
        "uid": one.uid,
        "connection": one.id,
        "protocol": one.protocol,
        "address": one.address,
        "since": iso_time(one.since),
        "waiting_bytes": one.waiting,
        "host": place.host,
        "gateway": place.gateway,
        "worker": place.worker,
        **({"streams": one.streams} if streams else {}),
    }


def members(result: Result) -> list[dict[str, Any]]:
    """Return the members who are online: their connections, the time of the oldest, and their gateways.

    Args:
        result: its connections are sorted by member and time.
    """
    found: dict[str, dict[str, Any]] = {}
    for one in result.members:
        own = found.setdefault(
            one.uid, {"uid": one.uid, "connections": 0, "since": iso_time(one.since), "gateways": set()}
        )
        own["connections"] += 1
        own["gateways"].add(result.places[one.id].gateway)
    return [{**own, "gateways": sorted(own["gateways"])} for own in found.values()]


def anonymous(result: Result) -> int:
    """Return the number of connections that are not those of members."""
    return max(0, result.connections - len(result.members))


def revocation(one: Revocation) -> dict[str, Any]:
    """Return a revocation. `jti` is None where all tokens that were issued until `issued_until` are revoked."""
    whole = one.jti is None
    return {
        "uid": one.uid,
        "jti": one.jti,
        "issued_until": iso_time(one.issued) if whole else None,
        "until": iso_time(one.until),
    }


def gateways(result: Result) -> list[dict[str, Any]]:
    """Return the gateways with their workers, by name."""
    found: dict[str, dict[str, Any]] = {}
    for answer in sorted(result.answers, key=lambda one: (one.place.gateway, one.place.worker)):
        place, status = answer.place, answer.status
        if status is None:
            continue
        own = found.setdefault(place.gateway, {"gateway": place.gateway, "host": place.host, "workers": []})
        own["workers"].append(_worker(place, status))
    return list(found.values())


def _worker(place: WorkerId, status: WorkerStatus) -> dict[str, Any]:
    load = status.load
    return {
        "worker": place.worker,
        "version": status.version,
        "since": iso_time(status.since),
        "connections": status.connections,
        "max_connections": load.max_connections,
        "members": status.members,
        "ready": not status.problems,
        "problems": status.problems,
        "lag_seconds": status.lag,
        "loop_delay_seconds": load.loop_delay,
        "behind_seconds": load.behind,
        "cpu": load.cpu,
        "memory_bytes": load.memory,
        "waiting_bytes": load.waiting,
        "slow_clients": load.slow,
        "deliveries": load.deliveries,
        "frames": load.frames,
        "redis": load.redis,
    }


def closes(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return the last connections that ended and the last refusals of all workers, newest first, `MOST_REPORTED` of
    each at most."""
    ends = [(one, answer.place) for answer in result.answers for one in answer.closes]
    refusals = [(one, answer.place) for answer in result.answers for one in answer.refusals]
    return {
        "closes": [
            {
                **_event(one, place),
                "code": one.code,
                "by": one.by,
                "protocol": one.protocol,
                "uid": one.uid,
                "seconds": one.seconds,
            }
            for one, place in _newest(ends)
        ],
        "refusals": [{**_event(one, place), "status": one.status} for one, place in _newest(refusals)],
    }


def _newest(found: list[tuple[E, WorkerId]]) -> list[tuple[E, WorkerId]]:
    return sorted(found, key=lambda one: one[0].at, reverse=True)[:MOST_REPORTED]


def _event(one: ClosedConnection | Refusal, place: WorkerId) -> dict[str, Any]:
    return {
        "at": iso_time(one.at),
        "connection": one.connection,
        "reason": one.reason,
        "address": one.address,
        "gateway": place.gateway,
        "worker": place.worker,
    }
