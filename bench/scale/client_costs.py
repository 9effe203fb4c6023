"""Measurements of the costs of deliveries, connections and a cluster, for `bench.scale.measure`."""

from __future__ import annotations

import statistics
import time

from bench.scale.costs import RATES
from bench.scale.parts import (
    ABSENT,
    FEW_FOLLOWERS,
    FOLLOWERS,
    IDLE_SECONDS,
    MEMBERS,
    OPENED,
    SECONDS,
    TURN_SECONDS,
    TURNS,
    Values,
    Workspace,
    load_cost,
    micro,
)
from bench.scale.system import Servers, System, Usage
from bench.scale.traffic import FEW, PRIVATE_BYTES, PUBLIC_BYTES, TRADES, WIDE, WIDE_BYTES, Rates


def clients(workspace: Workspace) -> Values:
    """Measure the cost of a delivery for a worker."""
    return _deliveries(workspace, tls=False)


def clients_tls(workspace: Workspace) -> Values:
    """Measure the cost of a delivery over TLS for a worker."""
    return {_with_tls(name): value for name, value in _deliveries(workspace, tls=True).items()}


def _with_tls(name: str) -> str:
    """Return `deliver_private_tls@400` for `deliver_private@400`."""
    for end in ("@", "_bytes"):
        thing, mark, rest = name.partition(end)
        if mark:
            return f"{thing}_tls{mark}{rest}"
    return f"{name}_tls"


def _deliveries(workspace: Workspace, tls: bool) -> Values:
    """Alternate events with recipients and events without. The difference is the cost of the deliveries."""
    followers = {TRADES: FOLLOWERS, FEW: FEW_FOLLOWERS, WIDE: FOLLOWERS}
    with (
        Servers(workspace.folder, 1, workspace.keys) as servers,
        System(servers, 1, 1, workspace.uids(), tls) as system,
        system.clients(workspace.program, MEMBERS, followers),
    ):
        return _delivered(system)


def _delivered(system: System) -> Values:
    found, runs = dict[str, float](), dict[str, list[float]]()
    for _ in range(TURNS):
        for name, count, rates in (
            (
                "private",
                1,
                {"private": float(RATES[-1]), "absent": float(RATES[-1])},
            ),  # at low rates, the noise is larger than the cost
            ("public@40", FOLLOWERS, {"public": 40.0, "unfollowed": 40.0}),
            ("public@400", FEW_FOLLOWERS, {"few": 400.0, "unfollowed": 400.0}),
            ("wide", FOLLOWERS, {"wide": 20.0, "wide_unfollowed": 20.0}),
        ):
            cost, used, events = _delivery(system, count, **rates)
            runs.setdefault(f"deliver_{name}", []).append(cost)
            sent = used.delivered / events / count
            if name == "private":
                found["private_bytes"] = sent - PRIVATE_BYTES
            elif name == "public@40":
                found["public_bytes"] = sent - PUBLIC_BYTES
    found |= {name: statistics.median(values) for name, values in runs.items()}
    more = found.pop("deliver_wide") - found["deliver_public@40"]
    return found | {"deliver_kilobyte": max(more / (WIDE_BYTES - PUBLIC_BYTES) * 1000, 0.0)}


def _delivery(system: System, recipients: int, **rates: float) -> tuple[float, Usage, float]:
    """Return the µs of CPU for a delivery, the usage of the load, and its number of events.

    Args:
        recipients: of each event.
        rates: two kinds of events with their rates: first the one with recipients, then the one without.
    """
    (kind, rate), (without, _) = rates.items()
    less, _ = system.load(Rates(**{without: rate}), TURN_SECONDS)
    used, counts = system.load(Rates(**{kind: rate}), TURN_SECONDS)
    cpu = used.workers[0] - less.workers[0] * used.seconds / less.seconds
    return micro(cpu, sum(counts) * recipients), used, sum(counts)


def connections(workspace: Workspace) -> Values:
    """Measure the costs of opening a connection and of an idle one, with and without TLS."""
    found = dict[str, float]()
    with Servers(workspace.folder, 1, workspace.keys) as servers:
        for tls in (False, True):
            end = "_tls" if tls else ""
            with System(servers, 1, 1, workspace.uids(), tls) as system:
                idle, _ = system.load(Rates(), SECONDS)
                before, memory = system.used(), system.memory()
                with system.clients(workspace.program, OPENED, {}):
                    time.sleep(1.0)
                    opened = system.used() - before
                    share = opened.seconds / idle.seconds
                    found[f"connect{end}"] = micro(opened.workers[0] - idle.workers[0] * share, OPENED)
                    time.sleep(3.0)
                    after = system.memory()
                    found[f"connection{end}_memory"] = (after[1] - memory[1]) / OPENED
                    if tls:
                        continue
                    found["redis_connect"] = micro(opened.redis - idle.redis * share, OPENED)
                    found["redis_connection_memory"] = max((after[3] - memory[3]) / OPENED, 0.0)
                    used, _ = system.load(Rates(), IDLE_SECONDS)
                    share = used.seconds / idle.seconds
                    seconds = OPENED * used.seconds
                    found["connection_second"] = micro(used.workers[0] - idle.workers[0] * share, seconds)
                    found["redis_connection_second"] = micro(used.redis - idle.redis * share, seconds)
                    found["redis_connection_bytes"] = (used.redis_bytes - idle.redis_bytes * share) / seconds
    return found


def cluster(workspace: Workspace) -> Values:
    """Measure a cluster of three nodes with one worker each. The first has the publisher and the stream's leader."""
    found = dict[str, float]()
    with (
        Servers(workspace.folder, 3, workspace.keys) as servers,
        System(servers, 3, 1, workspace.uids(ABSENT)) as system,
    ):
        idle, _ = system.load(Rates(), SECONDS)
        found["cluster_node_second"] = micro(statistics.mean(idle.nodes), idle.seconds)
        for kind in ("private", "public"):
            for rate in RATES:
                got = load_cost(system, idle, Rates(**{kind: rate}))
                found[f"first_{kind}@{rate}"] = got.nodes[0] * 1e6
                found[f"other_{kind}@{rate}"] = statistics.mean(got.nodes[1:]) * 1e6
                body = PRIVATE_BYTES if kind == "private" else PUBLIC_BYTES
                found[f"between_{kind}_bytes@{rate}"] = got.used.between / got.events / 2 - body
    return found
