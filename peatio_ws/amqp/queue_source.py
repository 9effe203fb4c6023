"""A source that reads a dedicated queue, which lives as long as its connection.

Works with RabbitMQ, and with the in-process broker, which has no exclusive queues and only one channel.
"""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Callable
from typing import Final

import gevent
from kombu import Connection, Queue

from peatio_ws.amqp.connection import CONNECT_TIMEOUT, exchange, is_embedded
from peatio_ws.amqp.frame_reader import consume
from peatio_ws.amqp.on_demand_bindings import OnDemandBindings
from peatio_ws.amqp.source import SourceUnavailable
from peatio_ws.amqp.topology import Bindings, Canaries, declare_exchange, exchanges_of
from peatio_ws.protocol.exchanges import Delivery

MAX_QUEUE_BYTES: Final = 256 * 2**20
"""Size limit of a worker's queue. Without it, a worker that does not read would fill the broker until the broker blocks
all publishers. The broker drops the oldest messages first (RabbitMQ, "Queue Length Limit")."""
WATCH_NAMES: Final = 16
"""Number of canary names that workers share, so that dead workers leave few canaries behind."""


class QueueSource:
    """A source that reads a queue of this worker.

    Args:
        name: name of the events: `private` or `public`.
        durable: whether the publishers declare the exchanges durable.
        bindings: permanent bindings.
        handle: called with each delivery; must not raise.
        on_demand: bindings to `peatio.events.ranger` that exist while needed; None if `bindings` are sufficient.
    """

    def __init__(
        self,
        name: str,
        durable: bool,
        bindings: Bindings,
        handle: Callable[[Delivery], None],
        on_demand: OnDemandBindings | None = None,
    ) -> None:
        self.name = name
        self._durable, self._bindings, self._handle, self._on_demand = durable, bindings, handle, on_demand
        self._canaries: Canaries | None = None

    def open(self, connection: Connection, on_read: Callable[[], None]) -> None:
        # A new name for each connection: until the broker notices that the last one broke, it keeps that queue locked.
        name = f"peatio_ws.{self.name}.{socket.gethostname()}.{uuid.uuid4().hex[:12]}"
        silence = SourceUnavailable(f"no answer within {CONNECT_TIMEOUT:g} s", answered=False)
        with gevent.Timeout(CONNECT_TIMEOUT, silence):
            self._declare(connection, name)
            consume(connection.default_channel, name, self._handle)
        if self._on_demand is None:
            on_read()
        else:
            self._on_demand.attach(connection, name, on_read)

    def prepare(self, connection: Connection) -> None:
        pass

    def after_batch(self) -> None:
        pass

    def check(self) -> None:
        if self._canaries is not None:
            self._canaries.check_bindings()

    def closed(self, unreachable: bool) -> None:  # noqa: ARG002  # makes no difference for a queue
        if self._on_demand is not None:
            self._on_demand.detach()
        if self._canaries is not None:
            self._canaries.forget()

    def has_read_up_to(self, moment: float) -> bool:  # noqa: ARG002  # no other worker reads this queue
        return True

    def lag(self) -> float:
        return 0.0

    def _declare(self, connection: Connection, name: str) -> None:
        embedded = is_embedded(connection)
        exchanges = [(one, declare_exchange(connection, one, self._durable)) for one in exchanges_of(self._bindings)]
        queue = Queue(
            name,
            exclusive=not embedded,
            auto_delete=True,
            durable=False,
            max_length_bytes=None if embedded else MAX_QUEUE_BYTES,
        ).bind(connection.default_channel)
        queue.queue_declare()
        durable = dict(exchanges)
        for one, routing_key in self._bindings:
            queue.bind_to(exchange(one, durable[one], embedded), routing_key=routing_key)
        # A random name, because another worker that noticed a missing canary may have declared it again already.
        suffix = f".{random.randrange(WATCH_NAMES)}"
        self._canaries = Canaries(f"peatio_ws.watch.{self.name}", suffix)
        self._canaries.declare(connection, exchanges)
