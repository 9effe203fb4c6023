"""Prepares the history stream for reading: declares it, tests it, and binds it to Peatio's exchanges.

- A new stream may have no leader yet, and RabbitMQ then closes the connection of a publisher whose message is routed to
  it. So a message is first published directly to the stream and read back (`markers.py`). Only then is the
  stream bound.
- Canaries (`topology.py`) show whether the stream has been bound without interruption. If one is missing, the worker
  binds the stream again and publishes a GAP message to it, which every worker reads, now or later.
- A stream that accepts no messages is unbound, because it would close the channels of Peatio's publishers.
"""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
import structlog
from amqp.exceptions import PreconditionFailed
from kombu import Connection

from peatio_ws.amqp.connection import describe_error
from peatio_ws.amqp.history_stream import markers
from peatio_ws.amqp.history_stream.markers import BrokerAlarm, refusals_translated
from peatio_ws.amqp.history_stream.offset import KEPT_HOURS
from peatio_ws.amqp.source import Refusal, SourceRefused, SourceUnavailable
from peatio_ws.amqp.topology import PRIVATE, Canaries, attempt, declare_exchange, exchanges_of
from peatio_ws.protocol.exchanges import Delivery

log = structlog.get_logger("peatio_ws.amqp.history_stream.setup")

ARGUMENTS: Final[Mapping[str, Any]] = {
    # Fixed, because an existing queue must be declared with the same arguments. Without x-initial-cluster-size, a
    # stream gets a replica on every node of its cluster (RabbitMQ 3.10).
    "x-queue-type": "stream",
    "x-max-age": f"{KEPT_HOURS}h",
    "x-max-length-bytes": 2_000_000_000,
    # When a stream gets another leader, RabbitMQ 3.10 reads each message of the last segment before it accepts more.
    "x-stream-max-segment-size-bytes": 1_000_000,
}
FORMER_ARGUMENTS: Final = {**ARGUMENTS, "x-stream-max-segment-size-bytes": 16_000_000}
"""Arguments of streams that earlier versions have made. They are used as they are."""
STREAMS_SINCE: Final = (3, 9)
"""First version of RabbitMQ with streams. Older ones declare a classic queue instead (3.7) or refuse (3.8)."""
STEP_SECONDS: Final = 5.0
"""Time limit of one step of opening the stream."""
WRITABLE_SECONDS: Final = 1.0
"""How long the broker may take to confirm a message to a stream that has a leader."""
NO_REPLICA_SECONDS: Final = 0.5
"""If the broker answers for this long that this node has no replica, although the stream has a leader, it is lost."""
GIVE_UP_SECONDS: Final = 10.0
"""A stream that is unavailable for this long, while its broker answers, counts as refused."""
PUBLISHER_SECONDS: Final = 40.0
"""How long the broker may take to refuse a publisher (30 s for a stream without quorum, RabbitMQ 3.10)."""
GAP: Final = b"gap"
"""Body of a message that marks a place in the stream where events may be missing."""


class StreamSetup:
    """Prepares one stream, at each connection.

    Args:
        queue: name of the stream.
        durable: whether the publishers declare the exchanges durable.
        headers: returns the headers of the next marker, with which workers can exchange information.

    Attributes:
        canaries: canaries next to the stream's bindings.
        unavailable_since: monotonic time; None while the stream works, or while no broker is reachable.
    """

    def __init__(self, queue: str, durable: bool, headers: Callable[[], Mapping[str, str]] = dict) -> None:
        self._queue, self._durable, self._headers = queue, durable, headers
        self.canaries = Canaries(f"{queue}.bound", durable=True)
        self.unavailable_since: float | None = None
        self._known: SourceUnavailable | None = None  # the last error with a known reason, since then
        self._protecting: gevent.Greenlet[Any, None] | None = None  # checks whether publishers get errors
        self._unbound = False  # by this worker, to protect publishers

    def on_success(self) -> None:
        """Reset the time of unavailability: the stream is available, or no broker is reachable."""
        self.unavailable_since = self._known = None

    def set_up(self, connection: Connection) -> Delivery | None:
        """Declare and bind the stream. Return its last message, or None if the broker blocks publishers.

        Raises SourceRefused, SourceUnavailable, and what kombu and py-amqp raise.
        """
        began = time.monotonic()
        try:
            end = self._set_up(connection)
        except SourceUnavailable as error:
            self.give_up(connection, error, began)
            raise
        self.on_success()
        return end

    def _set_up(self, connection: Connection) -> Delivery | None:
        _check_version(connection.connection.server_properties)
        with step_timeout(), refusals_translated(Refusal.OTHER_ARGUMENTS):
            declare_stream(connection, self._queue)
        end: Delivery | None = None
        try:
            end = self.publish_marker(connection)
        except BrokerAlarm:
            log.warning("broker accepts no messages: too little memory or disk", queue=self._queue)
        with step_timeout():
            exchanges = [(name, declare_exchange(connection, name, self._durable)) for name in exchanges_of(PRIVATE)]
            whole = self.canaries.exist(connection, exchanges_of(PRIVATE))
        with step_timeout(), refusals_translated(Refusal.OTHER_ARGUMENTS):
            attempt(connection, lambda channel: self._bind(channel.queue_bind))
        if not whole:
            # Events published before the stream was bound may be lost. The message tells all workers.
            end = markers.publish_and_read_back(connection, self._queue, STEP_SECONDS, GAP, {"id": uuid.uuid4().hex})
        with step_timeout():
            self.canaries.declare(connection, exchanges)
        self._unbound = False
        return end

    def publish_marker(self, connection: Connection, patience: float = STEP_SECONDS) -> Delivery:
        """Publish a marker to the stream; see `markers.publish_and_read_back`."""
        return markers.publish_and_read_back(connection, self._queue, STEP_SECONDS, b"", self._headers(), patience)

    def publish_marker_again(self, connection: Connection) -> Delivery:
        """Publish a marker while the stream is read.

        Raises what `publish_marker` raises. `Refusal.NO_REPLICA` then means that the replica on this node is lost: the
        stream accepts messages. While it has no leader, replicas are gone only for the moment.
        """
        try:
            return self.publish_marker(connection, 0.0)
        except SourceUnavailable as error:
            if error.refusal is not Refusal.NO_REPLICA:
                raise
            if not markers.is_writable(connection, self._queue, WRITABLE_SECONDS):
                raise SourceUnavailable(str(error), answered=True) from error
        return self.publish_marker(connection, NO_REPLICA_SECONDS)

    def _bind(self, bind_or_unbind: Callable[[str, str, str], object]) -> None:
        for exchange, routing_key in PRIVATE:
            bind_or_unbind(self._queue, exchange, routing_key)

    def give_up(self, connection: Connection, error: SourceUnavailable, began: float) -> None:
        """Handle an unavailable stream. Raises SourceRefused if it has been unavailable for too long.

        Also checks whether publishers get errors. Call it each time the stream is unavailable, because a node may fail
        long after the stream was refused for another reason.

        Args:
            began: monotonic time at the start of the attempt that found the stream unavailable.
        """
        if self.unavailable_since is None:
            self.unavailable_since = began
        if error.refusal is not Refusal.UNAVAILABLE:
            self._known = error
        if self._protecting is None or self._protecting.ready():
            self._protecting = gevent.spawn(self._protect_publishers, connection.clone(), self.unavailable_since)
        if time.monotonic() - self.unavailable_since >= GIVE_UP_SECONDS:
            known = self._known or error  # a busy broker may not answer the last attempt
            raise SourceRefused(known.refusal, str(known)) from error

    def _protect_publishers(self, connection: Connection, since: float) -> None:
        """Unbind the stream if publishers get errors from it, which would close Peatio's channels."""
        began = time.monotonic()
        try:
            while markers.is_refused_to_publishers(connection, self._queue, PUBLISHER_SECONDS):
                if self.unavailable_since != since:
                    return
                if time.monotonic() - began > GIVE_UP_SECONDS / 2:
                    break
                gevent.sleep(GIVE_UP_SECONDS / 10)  # it may be in creation
            else:
                return
            with gevent.Timeout(STEP_SECONDS):
                self._unbind(connection)
        except (Exception, gevent.Timeout) as failure:  # any failure: this is only a protective measure
            log.debug("could not check whether publishers get errors", queue=self._queue, error=describe_error(failure))
        finally:
            connection.collect()

    def _unbind(self, connection: Connection) -> None:
        if self._unbound and not self.canaries.exist(connection, exchanges_of(PRIVATE)):
            return  # and no worker has bound it again
        self.canaries.remove(connection, exchanges_of(PRIVATE))
        attempt(connection, lambda channel: self._bind(channel.queue_unbind))
        self._unbound = True
        log.warning("history stream unbound, because the broker refuses messages to it", queue=self._queue)


def declare_stream(connection: Connection, queue: str) -> None:
    """Declare the stream. Raises PreconditionFailed if a queue with other arguments exists."""

    def declare(arguments: Mapping[str, Any], channel: Any) -> None:
        channel.queue_declare(queue, durable=True, exclusive=False, auto_delete=False, arguments=dict(arguments))

    try:
        attempt(connection, functools.partial(declare, ARGUMENTS))
    except PreconditionFailed:
        attempt(connection, functools.partial(declare, FORMER_ARGUMENTS))


def step_timeout() -> gevent.Timeout:
    """Return the timeout of one step of opening the stream, which raises SourceUnavailable."""
    silence = SourceUnavailable(f"no answer about the stream within {STEP_SECONDS:g} s", answered=False)
    return gevent.Timeout(STEP_SECONDS, silence)


def _check_version(properties: Mapping[str, Any]) -> None:
    """Raise SourceRefused for a RabbitMQ without streams."""
    version = str(properties.get("version", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if properties.get("product") == "RabbitMQ" and found and (int(found[1]), int(found[2])) < STREAMS_SINCE:
        raise SourceRefused(Refusal.TOO_OLD, f"this is RabbitMQ {version}")
