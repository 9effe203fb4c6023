"""A source that reads a dedicated queue, which lives as long as its connection.

Works with RabbitMQ, and with the in-process broker, which has no exclusive queues and only one channel.
"""

from __future__ import annotations

import functools
import itertools
import random
import socket
import uuid
from collections.abc import Callable
from typing import Any, Final

import gevent
import structlog
from amqp.exceptions import AccessRefused, ResourceLocked
from kombu import Connection, Queue

from peatio_ws.amqp.connection import CONNECT_TIMEOUT, exchange, is_embedded
from peatio_ws.amqp.frame_reader import consume
from peatio_ws.amqp.on_demand_bindings import OnDemandBindings
from peatio_ws.amqp.source import Reopen, SourceUnavailable
from peatio_ws.amqp.topology import Bindings, Canaries, attempt, declare_exchange, exchanges_of, is_accepted
from peatio_ws.protocol.exchanges import Delivery

log = structlog.get_logger("peatio_ws.amqp.queue_source")

MAX_QUEUE_BYTES: Final = 256 * 2**20
"""Size limit of a worker's queue. Without it, a worker that does not read would fill the broker until the broker blocks
all publishers. The broker drops the oldest messages first (RabbitMQ, "Queue Length Limit")."""
DROPPED: Final = "peatio_ws.dropped"
"""The exchange to which the broker sends what it drops from full queues (RabbitMQ, "Dead Letter Exchanges")."""
WATCH_NAMES: Final = 16
"""Canaries have one of so many names while few workers run, so that dead workers leave few canaries behind."""
WATCH_TRIES: Final = 4
"""After so many names that other workers have, twice as many are tried."""


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
        self._dropped = self._logged = False

    def open(self, connection: Connection, on_read: Callable[[], None]) -> None:
        # A new name for each connection: until the broker notices that the last one broke, it keeps that queue locked.
        name = f"peatio_ws.{self.name}.{socket.gethostname()}.{uuid.uuid4().hex[:12]}"
        silence = SourceUnavailable(f"no answer within {CONNECT_TIMEOUT:g} s", answered=False)
        self._dropped = False
        with gevent.Timeout(CONNECT_TIMEOUT, silence):
            self._declare(connection, name)
            consume(connection.default_channel, name, self._handle)
        if self._on_demand is None:
            on_read()
        else:
            self._on_demand.attach(connection, name, on_read)

    def prepare(self, connection: Connection) -> None:
        pass

    def skip(self, seconds: float) -> None:
        pass

    def after_batch(self) -> None:
        if self._dropped:
            raise Reopen("this worker was too slow: its queue was full, and the broker dropped events")

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
        queue = self._declare_queue(connection, name)
        if not embedded:
            watch = f"peatio_ws.watch.{self.name}"
            self._canaries = Canaries(watch, f".{_reserve_number(connection, watch)}")
            self._canaries.declare(connection, exchanges)
        durable = dict(exchanges)
        for one, routing_key in self._bindings:
            queue.bind_to(exchange(one, durable[one], embedded), routing_key=routing_key)

    def _declare_queue(self, connection: Connection, name: str) -> Queue:
        """Declare the queue. If the broker's user may, let the broker report when it drops events from it."""
        # The in-process broker ignores what it does not have: exclusive queues, and limits.
        queue = Queue(name, exclusive=True, auto_delete=True, durable=False, max_length_bytes=MAX_QUEUE_BYTES)
        is_declared = not is_embedded(connection) and self._declare_with_notices(connection, queue)
        queue = queue.bind(connection.default_channel)
        if not is_declared:
            queue.queue_declare()
        return queue

    def _declare_with_notices(self, connection: Connection, queue: Queue) -> bool:
        """Declare the queue, and receive a notice when the broker drops events from it. Return False, with nothing
        declared and the queue unchanged, if the broker's user may not."""
        notices = f"{queue.name}.dropped"
        queue.queue_arguments = {"x-dead-letter-exchange": DROPPED, "x-dead-letter-routing-key": notices}
        try:
            attempt(connection, functools.partial(_declare_with_notices, queue, notices))
        except AccessRefused:
            queue.queue_arguments = None
            self._log_unnoticed()
            return False
        consume(connection.default_channel, notices, self._on_dropped)
        return True

    def _on_dropped(self, _delivery: Delivery) -> None:
        self._dropped = True

    def _log_unnoticed(self) -> None:
        if not self._logged:
            self._logged = True
            log.info(
                "cannot detect whether the broker drops events of a slow worker; "
                "allow the broker's user to configure, write and read peatio_ws.*",
                events=self.name,
            )


def _reserve_number(connection: Connection, prefix: str) -> int:
    """Return a number that no other worker has while this connection lasts, for the names of its canaries.

    A worker that misses a canary declares it again at once. Another one that watched the same name and looked a moment
    later would not miss it, and its queue would stay unbound. So an exclusive queue reserves the number.
    """
    for tries in itertools.count():
        number = random.randrange(WATCH_NAMES << tries // WATCH_TRIES)
        try:
            if is_accepted(connection, functools.partial(_reserve, f"{prefix}.{number}"), ResourceLocked):
                break
        except AccessRefused:
            break  # canaries will be refused, too
    return number


def _reserve(name: str, channel: Any) -> None:
    channel.queue_declare(name, exclusive=True, auto_delete=False)


def _declare_with_notices(queue: Queue, notices: str, channel: Any) -> None:
    channel.exchange_declare(DROPPED, "direct", durable=False, auto_delete=False)
    channel.queue_declare(notices, exclusive=True, auto_delete=True, arguments={"x-max-length": 1})
    channel.queue_bind(notices, DROPPED, notices)
    queue.bind(channel).queue_declare()
