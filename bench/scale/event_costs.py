"""What events cost workers, RabbitMQ and Redis; part of `bench.scale.measure`."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from bench import processes
from bench.scale.costs import RATES
from bench.scale.parts import ABSENT, SECONDS, TURN_SECONDS, TURNS, WORKERS, Beyond, Found, Place, beyond, micro
from bench.scale.system import Servers, System, Used
from bench.scale.traffic import PRIVATE_BYTES, PUBLIC_BYTES, Rates

Loads = dict[str, list[Beyond]]
"""Runs of loads, by name."""


def events(place: Place) -> Found:
    """Measure what an event costs each worker, RabbitMQ and Redis.

    A gateway of one worker and one of several take turns, so that other programs disturb both alike.
    """
    loads = {f"private@{rate}": Rates(private=rate) for rate in RATES}
    loads |= {f"public@{rate}": Rates(public=rate) for rate in RATES}
    loads["increments"] = Rates(increments=RATES[1])
    one, several = ({name: list[Beyond]() for name in loads} for _ in range(2))
    uids, absent = place.uids(ABSENT), contextlib.ExitStack()
    with Servers(place.folder, 1, place.keys) as servers, absent:
        empty = _of_servers(servers)
        first = absent.enter_context(System(servers, 1, 1, uids))
        memory = [empty.memory, first.memory()]
        second = absent.enter_context(System(servers, 1, WORKERS, uids, number=1))
        memory.append(second.memory())
        idle = list[Used]()
        for _ in range(TURNS):
            was = [system.load(Rates(), TURN_SECONDS)[0] for system in (first, second)]
            idle.append(was[1])
            for name, rates in loads.items():
                for system, less, got in zip((first, second), was, (one, several), strict=True):
                    got[name].append(beyond(system, less, rates, TURN_SECONDS))
        found = _idle(empty, idle) | _memory(memory)
    return found | _private(one, several) | _public(one, several)


class Empty(NamedTuple):
    """Servers without gateways: CPU seconds a second, and memory as `System.memory`."""

    node: float
    redis: float
    memory: tuple[int, int, int, int]


def _of_servers(servers: Servers) -> Empty:
    node, redis = processes.tree(servers.nodes[0].pid), [servers.redis.pid]
    before, began = (processes.cpu_seconds(node), processes.cpu_seconds(redis)), time.monotonic()
    time.sleep(SECONDS)
    took = time.monotonic() - began
    cpu = (processes.cpu_seconds(node) - before[0]) / took, (processes.cpu_seconds(redis) - before[1]) / took
    return Empty(*cpu, (0, 0, processes.memory_bytes(node), processes.memory_bytes(redis)))


def _idle(empty: Empty, idle: list[Used]) -> Found:
    """Return the costs of time without events, when both gateways run."""
    workers = 1 + WORKERS

    def middle(cpu: Callable[[Used], float]) -> float:
        return statistics.median(cpu(used) / used.seconds for used in idle)

    return {
        "worker_second": micro(middle(lambda used: sum(used.workers)), WORKERS),
        "master_second": micro(middle(lambda used: used.masters), 1),
        "node_second": empty.node * 1e6,
        "node_worker_second": max(micro(middle(lambda used: used.nodes[0]) - empty.node, workers), 0.0),
        "redis_second": empty.redis * 1e6,
        "redis_worker_second": max(micro(middle(lambda used: used.redis) - empty.redis, workers), 0.0),
        "redis_worker_bytes": middle(lambda used: used.redis_bytes) / workers,
    }


def _memory(steps: list[tuple[int, int, int, int]]) -> Found:
    """Return the memory of servers alone, with one worker, and with both gateways, as costs of each part."""
    empty, one, both = steps
    worker = (sum(both[:2]) - sum(one[:2])) / (WORKERS - 1)
    return {
        "worker_memory": worker,
        "master_memory": sum(one[:2]) - worker,
        "node_memory": float(empty[2]),
        "node_worker_memory": max((both[2] - empty[2]) / (WORKERS + 1), 0.0),
        "redis_memory": float(empty[3]),
    }


def _middle(runs: list[Beyond], value: Callable[[Beyond], float]) -> float:
    """Return the median of a value in microseconds."""
    return statistics.median(map(value, runs)) * 1e6


def _private(one: Loads, several: Loads) -> Found:
    found = dict[str, float]()
    names = [name for name in several if name.startswith("private")]
    runs = [run for name in names for run in several[name]]
    totals = [sum(run.workers[number] * run.events for run in runs) for number in range(WORKERS)]
    writer = totals.index(max(totals))  # writes the orders to Redis, for all

    def by_second(run: Beyond) -> float:
        return run.redis_second

    def read(run: Beyond) -> float:
        return statistics.mean(cpu for number, cpu in enumerate(run.workers) if number != writer)

    for name in names:
        rate, alone, got = name.partition("@")[2], one[name], several[name]
        found[f"read_private@{rate}"] = (_middle(got, read) + _middle(alone, lambda run: run.workers[0])) / 2
        found[f"order_write@{rate}"] = max(_middle(got, lambda run: run.workers[writer] - read(run)), 0.0)
        found |= _broker("private", "stream", rate, alone, got)
    # A worker asks as often for any number of orders.
    more = [_middle(several[name], by_second) - _middle(one[name], by_second) for name in names]
    found["redis_lease_second"] = max(statistics.mean(more) / (WORKERS - 1), 0.0)
    # One worker writes the orders of each tenth of a second together: a cost a second, and one for each order.
    seldom, often = (_middle(one[name], by_second) - found["redis_lease_second"] for name in (names[0], names[-1]))
    found["redis_order"] = max((often - seldom) / (RATES[-1] - RATES[0]), 0.0)
    found["redis_write_second"] = max(seldom - RATES[0] * found["redis_order"], 0.0)
    last = several[names[-1]][-1]
    found["publish_private_bytes"] = last.used.published / last.events - PRIVATE_BYTES
    found["stream_bytes"] = last.used.consumed / last.events / WORKERS - PRIVATE_BYTES
    found["order_bytes"] = last.used.redis_bytes / last.events - PRIVATE_BYTES
    return found


def _broker(kind: str, each: str, rate: str, one: list[Beyond], several: list[Beyond]) -> Found:
    """Return what an event costs RabbitMQ: once, and for each worker."""
    alone, many = (_middle(runs, lambda run: run.nodes[0]) for runs in (one, several))
    worker = max((many - alone) / (WORKERS - 1), 0.0)
    return {f"publish_{kind}@{rate}": max(alone - worker, 0.0), f"{each}@{rate}": worker}


def _public(one: Loads, several: Loads) -> Found:
    found = dict[str, float]()
    for rate in RATES:
        name = f"public@{rate}"
        found[f"read_public@{rate}"] = (
            _middle(several[name], lambda run: statistics.mean(run.workers))
            + _middle(one[name], lambda run: run.workers[0])
        ) / 2
        found |= _broker("public", "queue", str(rate), one[name], several[name])
    applied = _middle(several["increments"], lambda run: statistics.mean(run.workers))
    found["increment"] = applied - found[f"read_public@{RATES[1]}"]
    last = several[name][-1]
    found["publish_public_bytes"] = last.used.published / last.events - PUBLIC_BYTES
    found["queue_bytes"] = last.used.consumed / last.events / WORKERS - PUBLIC_BYTES
    return found
