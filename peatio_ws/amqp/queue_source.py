"""A source that is a queue of one worker and lives as long as its connection.

On RabbitMQ, or on the in-process broker, which knows neither exclusive queues nor several channels.
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
"""What may wait at the broker for one worker. Without a limit, a worker that does not read would fill the broker until
it blocks all publishers. The oldest messages go first (RabbitMQ, "Queue Length Limit")."""
WATCH_NAMES: Final = 16
"""Workers share so many names of canaries; the leftovers of workers that died stay few."""


class QueueSource:
    """A queue that lives as long as its connection.

    Args:
        name: of the events: `private` or `public`.
        durable: whether the publishers declare the exchanges durable.
        bindings: what is read in any case.
        handle: called with each delivery; may raise nothing.
        on_demand: what is read of `peatio.events.ranger` while it is needed; None if `bindings` have everything.
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
        # A new name each time: a broker that has not noticed yet how the last connection broke keeps that queue locked.
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

    def closed(self, unreachable: bool) -> None:  # noqa: ARG002  # a queue of its own knows no difference
        if self._on_demand is not None:
            self._on_demand.detach()
        if self._canaries is not None:
            self._canaries.forget()

    def has_read_up_to(self, moment: float) -> bool:  # noqa: ARG002  # nobody else reads it, or is ahead
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
        # Another name than last time: whoever noticed first that one is gone may have put it back already.
        suffix = f".{random.randrange(WATCH_NAMES)}"
        self._canaries = Canaries(f"peatio_ws.watch.{self.name}", suffix)
        self._canaries.declare(connection, exchanges)
