"""The sizing model: formulas for the resources that gateways, RabbitMQ and Redis need. `costs.py` has the costs.

Q and P are the private and public events a second. CPU is in cores (CPU seconds per second). `cost(rate)` is a cost
that falls with the rate: a process that reads several events at once does some of the work only once.

A worker reads all private events, and all public events:

    rate   = Q + P
    worker = worker_second + connections x connection_second
           + Q x read_private(rate) + P x read_public(rate) + P x increments x increment
           + its private deliveries x deliver_private
           + its public deliveries x (deliver_public(P) + kilobytes x deliver_kilobyte)

One worker also writes the orders to Redis: + Q x order_write(Q). A single RabbitMQ node:

    node   = node_second + readers x node_worker_second
           + Q x (publish_private(rate) + readers x stream(rate)) + P x (publish_public(rate) + readers x queue(rate))

The readers are the workers. In a cluster of three nodes, Peatio publishes to the first one. Its costs `first_…` include
publishing and one reader. The costs of the other two, `other_…`, also include one reader.

    Redis  = redis_second + workers x redis_worker_second + members x redis_connection_second
           + redis_write_second + Q x redis_order + workers x redis_lease_second
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final

from bench.scale.costs import Costs

MICRO: Final = 1e-6
CLUSTER: Final = 3
HISTORY_BYTES: Final = 64 * 2**20
"""`WEBSOCKET_RESUME_BYTES`."""
ENTRY_BYTES: Final = 300
"""Memory of a private event in the history of a worker, without its body."""
ORDERS_KEPT: Final = 20_000
"""Orders that Redis keeps."""
MEASURED_BYTES: Final = 120
"""Size of the public events in the measurement of `deliver_public`."""


@dataclass(frozen=True)
class Exchange:
    """The load of an exchange.

    Attributes:
        clients: open connections.
        members: authenticated connections.
        private, public: events a second.
        followers: mean number of clients that receive a public event.
        increments: share of the public events that are increments of books.
        private_bytes, public_bytes: size of the body of an event.
        connected: mean number of connections that receive a private event.
    """

    clients: float
    members: float
    private: float
    public: float
    followers: float
    increments: float = 0.8
    private_bytes: float = 350
    public_bytes: float = 150
    connected: float = 1.0


@dataclass(frozen=True)
class Setup:
    """The servers of an exchange.

    Attributes:
        hosts: hosts with one gateway each.
        workers: workers per host.
        nodes: RabbitMQ nodes, 1 or 3.
        tls: whether the gateways terminate TLS.
        history: whether `AMQP_HISTORY` is on; if off, a worker reads only private events of its members.
        on_demand: whether `WEBSOCKET_BOOKS` is set: a worker reads the books and the streams that its clients follow.
        history_seconds: how long a worker keeps private events: 4/3 of `WEBSOCKET_RESUME_SECONDS`, plus 20 s.
        readers: processes that read from RabbitMQ; None for one per worker. Another number shows what a design with
            shared readers would cost; the gateway does not have it.
    """

    hosts: int
    workers: int
    nodes: int = 1
    tls: bool = False
    history: bool = True
    on_demand: bool = False
    history_seconds: float = 180
    readers: int | None = None

    @property
    def all_workers(self) -> int:
        """Workers of all hosts."""
        return self.hosts * self.workers

    @property
    def all_readers(self) -> int:
        """Processes that read from RabbitMQ."""
        return self.all_workers if self.readers is None else self.readers


@dataclass(frozen=True)
class Need:
    """The calculated needs: CPU in cores, traffic in bytes a second, memory in bytes.

    Attributes:
        worker: mean CPU of a worker.
        busiest_worker: CPU of the worker that writes orders to Redis.
        host: CPU of all workers of a host and their master.
        nodes: CPU of each RabbitMQ node.
        redis: CPU of Redis.
        published: traffic from Peatio to RabbitMQ.
        consumed: traffic from RabbitMQ to all hosts.
        between: traffic between the nodes.
        delivered: traffic from all hosts to the clients.
        redis_line: traffic between all hosts and Redis, in both directions.
        connect: CPU seconds that a worker needs when a client connects and authenticates.
    """

    worker: float
    busiest_worker: float
    host: float
    nodes: tuple[float, ...]
    redis: float
    published: float
    consumed: float
    between: float
    delivered: float
    redis_line: float
    host_memory: float
    node_memory: float
    redis_memory: float
    connect: float


class Model:
    """The formulas for one exchange and one setup.

    Raises:
        ValueError: the setup has neither 1 nor 3 nodes.
    """

    def __init__(self, costs: Costs, exchange: Exchange, setup: Setup) -> None:
        if setup.nodes not in (1, CLUSTER):
            raise ValueError(f"the model supports 1 or {CLUSTER} nodes of RabbitMQ, not {setup.nodes}")
        self._costs, self._exchange, self._setup = costs, exchange, setup

    @property
    def private_read(self) -> float:
        """Private events a second that a worker reads."""
        here = self._exchange.private * self._exchange.connected / self._setup.all_workers
        return self._exchange.private if self._setup.history else min(here, self._exchange.private)

    @property
    def public_read(self) -> float:
        """Public events a second that a worker reads."""
        exchange = self._exchange
        if not self._setup.on_demand:
            return exchange.public
        followed = 1 - math.pow(1 - 1 / self._setup.all_workers, exchange.followers)
        return exchange.public * (exchange.increments + (1 - exchange.increments) * followed)

    @property
    def private_deliveries(self) -> float:
        """Private events a second that a worker sends."""
        return self._exchange.private * self._exchange.connected / self._setup.all_workers

    @property
    def public_deliveries(self) -> float:
        """Public events a second that a worker sends."""
        return self._exchange.public * self._exchange.followers / self._setup.all_workers

    def worker(self) -> float:
        """Return the CPU of a worker that does not write orders."""
        costs, exchange, tls = self._costs, self._exchange, "_tls" if self._setup.tls else ""
        rate = self.private_read + self.public_read
        kilobytes = max(exchange.public_bytes - MEASURED_BYTES, 0) / 1000
        deliver = costs.at(f"deliver_public{tls}", exchange.public)
        return MICRO * (
            costs["worker_second"]
            + exchange.clients / self._setup.all_workers * costs["connection_second"]
            + self.private_read * costs.at("read_private", rate)
            + self.public_read * costs.at("read_public", rate)
            + exchange.public * exchange.increments * costs["increment"]
            + self.private_deliveries * costs[f"deliver_private{tls}"]
            + self.public_deliveries * (deliver + kilobytes * costs[f"deliver_kilobyte{tls}"])
        )

    def order_write(self) -> float:
        """Return the CPU of writing orders to Redis. One worker does it for all."""
        return MICRO * self._exchange.private * self._costs.at("order_write", self._exchange.private)

    def nodes(self) -> tuple[float, ...]:
        """Return the CPU of each RabbitMQ node."""
        if self._setup.nodes == 1:
            return (self._node("publish_private", "publish_public", self._costs["node_second"], 0),)
        others = self._costs["cluster_node_second"]
        first = self._node("first_private", "first_public", others, 1)
        return (first, *[self._node("other_private", "other_public", others, 1)] * (CLUSTER - 1))

    def _node(self, private: str, public: str, second: float, included: int) -> float:
        """Return the CPU of a node. Its costs of an event already include `included` readers."""
        costs, exchange, readers = self._costs, self._exchange, self._setup.all_readers / self._setup.nodes
        rate = exchange.private + exchange.public
        queues = readers * self.public_read / (exchange.public or 1) - included
        streams = readers * self.private_read / (exchange.private or 1) - included
        # Without history, workers receive private events through their queues.
        history = self._setup.history
        publish_private, each = (private, "stream") if history else (public, "queue")
        return MICRO * (
            second
            + (readers - included) * costs["node_worker_second"]
            + exchange.private * (costs.at(publish_private, rate) + streams * costs.at(each, rate))
            + exchange.public * (costs.at(public, rate) + queues * costs.at("queue", rate))
        )

    def redis(self) -> float:
        """Return the CPU of Redis."""
        costs, exchange, workers = self._costs, self._exchange, self._setup.all_workers
        orders = costs["redis_write_second"] + exchange.private * costs["redis_order"] if exchange.private else 0
        leases = workers * costs["redis_lease_second"] if exchange.private else 0
        return MICRO * (
            costs["redis_second"]
            + workers * costs["redis_worker_second"]
            + exchange.members * costs["redis_connection_second"]
            + orders
            + leases
        )

    def need(self) -> Need:
        """Return all needs."""
        costs, exchange, setup = self._costs, self._exchange, self._setup
        tls = "_tls" if setup.tls else ""
        worker, write = self.worker(), self.order_write()
        workers, readers = setup.all_workers, setup.all_readers
        stream = "stream" if setup.history else "queue"
        history = self.private_read * setup.history_seconds * (exchange.private_bytes + ENTRY_BYTES)
        rate, between = exchange.private + exchange.public, 0.0
        if setup.nodes > 1:
            between += exchange.private * (exchange.private_bytes + costs.at("between_private_bytes", rate))
            between += exchange.public * (exchange.public_bytes + costs.at("between_public_bytes", rate))
        return Need(
            worker=worker + write / workers,
            busiest_worker=worker + write,
            host=setup.workers * (worker + write / workers) + MICRO * costs["master_second"],
            nodes=self.nodes(),
            redis=self.redis(),
            published=exchange.private * (exchange.private_bytes + costs["publish_private_bytes"])
            + exchange.public * (exchange.public_bytes + costs["publish_public_bytes"]),
            consumed=readers
            * (
                self.private_read * (exchange.private_bytes + costs[f"{stream}_bytes"])
                + self.public_read * (exchange.public_bytes + costs["queue_bytes"])
            ),
            between=between * (setup.nodes - 1),
            delivered=workers
            * (
                self.private_deliveries * (exchange.private_bytes + costs[f"private{tls}_bytes"])
                + self.public_deliveries * (exchange.public_bytes + costs[f"public{tls}_bytes"])
            ),
            redis_line=workers * costs["redis_worker_bytes"]
            + exchange.private * (exchange.private_bytes + costs["order_bytes"])
            + exchange.members * costs["redis_connection_bytes"],
            host_memory=costs["master_memory"]
            + setup.workers * (costs["worker_memory"] + (min(history, HISTORY_BYTES) if setup.history else 0))
            + exchange.clients / setup.hosts * costs[f"connection{tls}_memory"],
            node_memory=costs["node_memory"] + readers / setup.nodes * costs["node_worker_memory"],
            redis_memory=costs["redis_memory"]
            + exchange.members * costs["redis_connection_memory"]
            + (ORDERS_KEPT * exchange.private_bytes if exchange.private else 0),
            connect=MICRO * costs[f"connect{tls}"],
        )


def need(costs: Costs, exchange: Exchange, setup: Setup) -> Need:
    """Return what an exchange needs. Raise ValueError as `Model` does."""
    return Model(costs, exchange, setup).need()


def times(exchange: Exchange, factor: float) -> Exchange:
    """Return the exchange with its rates of events multiplied by a factor."""
    return dataclasses.replace(exchange, private=exchange.private * factor, public=exchange.public * factor)
