"""Measurements of the costs of events for workers, RabbitMQ and Redis, for `bench.scale.measure`."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from bench import processes
from bench.scale.costs import RATES
from bench.scale.parts import (
    ABSENT,
    SECONDS,
    TURN_SECONDS,
    TURNS,
    WORKERS,
    LoadCost,
    Values,
    Workspace,
    load_cost,
    micro,
)
from bench.scale.system import Servers, System, Usage
from bench.scale.traffic import PRIVATE_BYTES, PUBLIC_BYTES, Rates

Loads = dict[str, list[LoadCost]]
"""Runs by name of the load."""


def events(workspace: Workspace) -> Values:
    """Measure the cost of an event for each worker, RabbitMQ and Redis.

    The loads alternate between a gateway with one worker and one with several, so that other programs affect both
    equally.
    """
    loads = {f"private@{rate}": Rates(private=rate) for rate in RATES}
    loads |= {f"public@{rate}": Rates(public=rate) for rate in RATES}
    loads["increments"] = Rates(increments=RATES[1])
    one, several = ({name: list[LoadCost]() for name in loads} for _ in range(2))
    uids, absent = workspace.uids(ABSENT), contextlib.ExitStack()
    with Servers(workspace.folder, 1, workspace.keys) as servers, absent:
        empty = _idle_servers(servers)
        first = absent.enter_context(System(servers, 1, 1, uids))
        memory = [empty.memory, first.memory()]
        second = absent.enter_context(System(servers, 1, WORKERS, uids, number=1))
        memory.append(second.memory())
        idle = list[Usage]()
        for _ in range(TURNS):
            was = [system.load(Rates(), TURN_SECONDS)[0] for system in (first, second)]
            idle.append(was[1])
            for name, rates in loads.items():
                for system, less, got in zip((first, second), was, (one, several), strict=True):
                    got[name].append(load_cost(system, less, rates, TURN_SECONDS))
        found = _idle(empty, idle) | _memory(memory)
    return found | _private(one, several) | _public(one, several)


class IdleServers(NamedTuple):
    """Usage of servers without gateways: CPU in cores, memory as in `System.memory`."""

    node: float
    redis: float
    memory: tuple[int, int, int, int]


def _idle_servers(servers: Servers) -> IdleServers:
    node, redis = processes.tree(servers.nodes[0].pid), [servers.redis.pid]
    before, began = (processes.cpu_seconds(node), processes.cpu_seconds(redis)), time.monotonic()
    time.sleep(SECONDS)
    took = time.monotonic() - began
    cpu = (processes.cpu_seconds(node) - before[0]) / took, (processes.cpu_seconds(redis) - before[1]) / took
    return IdleServers(*cpu, (0, 0, processes.memory_bytes(node), processes.memory_bytes(redis)))


def _idle(empty: IdleServers, idle: list[Usage]) -> Values:
    """Return the costs per second without events, while both gateways run."""
    workers = 1 + WORKERS

    def median(cpu: Callable[[Usage], float]) -> float:
        return statistics.median(cpu(used) / used.seconds for used in idle)

    return {
        "worker_second": micro(median(lambda used: sum(used.workers)), WORKERS),
        "master_second": micro(median(lambda used: used.masters), 1),
        "node_second": empty.node * 1e6,
        "node_worker_second": max(micro(median(lambda used: used.nodes[0]) - empty.node, workers), 0.0),
        "redis_second": empty.redis * 1e6,
        "redis_worker_second": max(micro(median(lambda used: used.redis) - empty.redis, workers), 0.0),
        "redis_worker_bytes": median(lambda used: used.redis_bytes) / workers,
    }


def _memory(steps: list[tuple[int, int, int, int]]) -> Values:
    """Return the memory of each process, from three steps: no gateway, the first gateway, both gateways."""
    empty, one, both = steps
    worker = (sum(both[:2]) - sum(one[:2])) / (WORKERS - 1)
    return {
        "worker_memory": worker,
        "master_memory": sum(one[:2]) - worker,
        "node_memory": float(empty[2]),
        "node_worker_memory": max((both[2] - empty[2]) / (WORKERS + 1), 0.0),
        "redis_memory": float(empty[3]),
    }


def _median_micro(runs: list[LoadCost], value: Callable[[LoadCost], float]) -> float:
    """Return the median of a value in seconds, in µs."""
    return statistics.median(map(value, runs)) * 1e6


def _private(one: Loads, several: Loads) -> Values:
    found = dict[str, float]()
    names = [name for name in several if name.startswith("private")]
    runs = [run for name in names for run in several[name]]
    totals = [sum(run.workers[number] * run.events for run in runs) for number in range(WORKERS)]
    writer = totals.index(max(totals))  # the one that writes the orders to Redis

    def by_second(run: LoadCost) -> float:
        return run.redis_second

    def read(run: LoadCost) -> float:
        return statistics.mean(cpu for number, cpu in enumerate(run.workers) if number != writer)

    for name in names:
        rate, alone, got = name.partition("@")[2], one[name], several[name]
        found[f"read_private@{rate}"] = (
            _median_micro(got, read) + _median_micro(alone, lambda run: run.workers[0])
        ) / 2
        found[f"order_write@{rate}"] = max(_median_micro(got, lambda run: run.workers[writer] - read(run)), 0.0)
        found |= _broker("private", "stream", rate, alone, got)
    # Workers ask Redis for the lease at a constant rate, however many orders there are.
    more = [_median_micro(several[name], by_second) - _median_micro(one[name], by_second) for name in names]
    found["redis_lease_second"] = max(statistics.mean(more) / (WORKERS - 1), 0.0)
    # One worker writes orders in batches, ten times a second: there is a cost per second and a cost per order.
    low, high = (_median_micro(one[name], by_second) - found["redis_lease_second"] for name in (names[0], names[-1]))
    found["redis_order"] = max((high - low) / (RATES[-1] - RATES[0]), 0.0)
    found["redis_write_second"] = max(low - RATES[0] * found["redis_order"], 0.0)
    last = several[names[-1]][-1]
    found["publish_private_bytes"] = last.used.published / last.events - PRIVATE_BYTES
    found["stream_bytes"] = last.used.consumed / last.events / WORKERS - PRIVATE_BYTES
    found["order_bytes"] = last.used.redis_bytes / last.events - PRIVATE_BYTES
    return found


def _broker(kind: str, each: str, rate: str, one: list[LoadCost], several: list[LoadCost]) -> Values:
    """Return the cost of an event for RabbitMQ: the part for publishing it, and the part for each worker."""
    alone, many = (_median_micro(runs, lambda run: run.nodes[0]) for runs in (one, several))
    worker = max((many - alone) / (WORKERS - 1), 0.0)
    return {f"publish_{kind}@{rate}": max(alone - worker, 0.0), f"{each}@{rate}": worker}


def _public(one: Loads, several: Loads) -> Values:
    found = dict[str, float]()
    for rate in RATES:
        name = f"public@{rate}"
        found[f"read_public@{rate}"] = (
            _median_micro(several[name], lambda run: statistics.mean(run.workers))
            + _median_micro(one[name], lambda run: run.workers[0])
        ) / 2
        found |= _broker("public", "queue", str(rate), one[name], several[name])
    applied = _median_micro(several["increments"], lambda run: statistics.mean(run.workers))
    found["increment"] = applied - found[f"read_public@{RATES[1]}"]
    last = several[name][-1]
    found["publish_public_bytes"] = last.used.published / last.events - PUBLIC_BYTES
    found["queue_bytes"] = last.used.consumed / last.events / WORKERS - PUBLIC_BYTES
    return found
