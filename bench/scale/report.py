"""The report for an operator: a table of needs and capacities, and the resource that reaches its limit first.

The limit of a resource is a share of its capacity (`LIMIT`), because bursts and reconnecting clients need the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.scale.costs import Costs
from bench.scale.model import Exchange, Need, Setup, need, times

LIMIT: Final = 0.6
FAILED_LIMIT: Final = 0.8
"""The limit of a worker while one host is down."""
MAX_FACTOR: Final = 1000.0
"""A resource that can handle this many times the events is not a limit."""


@dataclass(frozen=True)
class Capacity:
    """The capacity of the servers.

    Attributes:
        node_cores: cores of each RabbitMQ node.
        network: bits a second of each host and node.
    """

    node_cores: float = 2.0
    network: float = 1e9


@dataclass(frozen=True)
class Resource:
    """A resource with a limited capacity.

    Attributes:
        used: returns the needed amount.
        has: the capacity; None to show only the need.
        unit: `cores`, `B/s` or `B`.
    """

    name: str
    used: Callable[[Need], float]
    has: float | None
    unit: str


def resources(setup: Setup, capacity: Capacity) -> list[Resource]:
    """Return the resources of the table."""
    network, nodes, hosts = capacity.network / 8, setup.nodes, setup.hosts
    found = [
        Resource("the busiest worker", lambda it: it.busiest_worker, 1.0, "cores"),
        Resource("all workers of a host", lambda it: it.host, None, "cores"),
        Resource(
            "the first RabbitMQ node" if nodes > 1 else "RabbitMQ",
            lambda it: it.nodes[0],
            capacity.node_cores,
            "cores",
        ),
    ]
    if nodes > 1:
        found.append(Resource("each further RabbitMQ node", lambda it: it.nodes[1], capacity.node_cores, "cores"))
    found += [
        Resource("Redis", lambda it: it.redis, 1.0, "cores"),
        Resource("traffic from Peatio to RabbitMQ", lambda it: it.published, network, "B/s"),
        Resource("traffic from RabbitMQ to a host", lambda it: it.consumed / hosts, network, "B/s"),
        Resource("traffic sent by a RabbitMQ node", lambda it: _node_traffic(it, nodes), network, "B/s"),
        Resource("traffic from a host to its clients", lambda it: it.delivered / hosts, network, "B/s"),
        Resource("traffic between hosts and Redis", lambda it: it.redis_line, network, "B/s"),
        Resource("memory of a host", lambda it: it.host_memory, None, "B"),
        Resource("memory of a RabbitMQ node", lambda it: it.node_memory, None, "B"),
        Resource("memory of Redis", lambda it: it.redis_memory, None, "B"),
    ]
    return found


def _node_traffic(found: Need, nodes: int) -> float:
    """Return the bytes a second that the first node sends."""
    return found.consumed / nodes + found.between


def report(costs: Costs, exchange: Exchange, setup: Setup, capacity: Capacity) -> str:
    """Return the table and the verdict."""
    found, rows = need(costs, exchange, setup), resources(setup, capacity)
    lines = [f"{'':34} {'needs':>12} {'has':>12} {'used':>7}"]
    for row in rows:
        used = row.used(found)
        has = "" if row.has is None else formatted(row.has, row.unit)
        share = "" if row.has is None else f"{used / row.has:.0%}"
        lines.append(f"{row.name:34} {formatted(used, row.unit):>12} {has:>12} {share:>7}".rstrip())
    return "\n".join([*lines, "", *verdict(costs, exchange, setup, rows, found)])


def verdict(costs: Costs, exchange: Exchange, setup: Setup, rows: list[Resource], found: Need) -> list[str]:
    """Return sentences about the first limit, the events until it is reached, and the load while a host is down."""
    first = max((row for row in rows if row.has), key=lambda row: row.used(found) / (row.has or 1))
    share = first.used(found) / (first.has or 1)
    factor = headroom(costs, exchange, setup, first)
    lines = [f"The first limit is {first.name}: {share:.0%} used, of at most {LIMIT:.0%}."]
    if factor >= MAX_FACTOR:
        lines += ["More events do not bring it to its limit."]
    elif share <= LIMIT:
        lines += [f"It reaches its limit at {factor:.1f} times the events."]
    else:
        lines += [f"It is overloaded. It can handle {factor:.2f} times the events." if factor else "It is overloaded."]
    if setup.hosts == 1:
        return [*lines, "While the only host is down, no client is connected."]
    fewer = dataclasses.replace(setup, hosts=setup.hosts - 1)
    rest = need(costs, exchange, fewer)
    clients = exchange.clients / setup.hosts
    lines.append(
        f"While one host is down, the busiest worker is {rest.busiest_worker:.0%} used, of at most {FAILED_LIMIT:.0%}, "
        f"and a worker has {exchange.clients / fewer.all_workers:,.0f} clients."
    )
    if rest.busiest_worker < 1:
        seconds = clients * rest.connect / fewer.all_workers / (1 - rest.busiest_worker)
        lines.append(
            f"The {clients:,.0f} clients of the failed host reconnect within {seconds:.1f} s if all reconnect at once."
        )
    return lines


def headroom(costs: Costs, exchange: Exchange, setup: Setup, resource: Resource) -> float:
    """Return the multiple of the events at which a resource reaches `LIMIT`, between 0 and `MAX_FACTOR`."""

    def is_over(factor: float) -> bool:
        return resource.used(need(costs, times(exchange, factor), setup)) > LIMIT * (resource.has or 0)

    if is_over(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while not is_over(high):
        low, high = high, high * 2
        if low >= MAX_FACTOR:
            return MAX_FACTOR
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if is_over(middle) else (middle, high)
    return low


def formatted(value: float, unit: str) -> str:
    """Return a value with a readable unit."""
    if unit == "cores":
        return f"{value:.2f} cores"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}"


SIZES: Final = (
    (Setup(1, 1), 10_000),
    (Setup(2, 2), 20_000),
    (Setup(3, 4), 50_000),
    (Setup(10, 4), 400_000),
    (Setup(10, 4, nodes=3), 400_000),
)
"""The setups that docs/operations.md compares, with their numbers of clients."""


def sizes(costs: Costs) -> str:
    """Return a Markdown table row for each of `SIZES`: the events a second that it can handle, and the first limit."""
    lines = []
    for setup, clients in SIZES:
        exchange = Exchange(clients, clients, private=300, public=700, followers=1000)
        limits = [row for row in resources(setup, Capacity()) if row.has]
        factor, first = min(((headroom(costs, exchange, setup, row), row) for row in limits), key=lambda pair: pair[0])
        memory = need(costs, times(exchange, factor), setup).host_memory
        hosts = f"{setup.hosts} host{'s' if setup.hosts > 1 else ''} of {setup.workers}"
        nodes = f"{setup.nodes} node{'s' if setup.nodes > 1 else ''}"
        events = round(factor * 1000, -1)
        lines.append(f"| {hosts} | {clients:,} | {nodes} | {events:,.0f} | {first.name} | {formatted(memory, 'B')} |\n")
    return "".join(lines)
