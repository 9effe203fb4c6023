"""The history stream as it has to be before it is read: declared, proved to work, and bound to Peatio's exchanges.

- A stream that was just declared may have no leader yet, and RabbitMQ then closes the connection of a publisher whose
  message is routed to it. So a message is first put directly into the stream and read back (`stream_markers.py`), and
  only then the stream is bound.
- Canaries (`topology.py`) tell whether it has been bound all the time. Where one is missing, a GAP message goes into
  the stream before it is bound again: every worker, now and later, reads it there.
- A stream that takes no messages is unbound: bound, it would close the channels of Peatio's publishers.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
import structlog
from kombu import Connection

from peatio_ws.amqp import stream_markers
from peatio_ws.amqp.connection import describe_error
from peatio_ws.amqp.source import Refusal, SourceRefused, SourceUnavailable
from peatio_ws.amqp.stream_markers import BrokerAlarm, refusals_translated
from peatio_ws.amqp.stream_offset import KEPT_HOURS
from peatio_ws.amqp.topology import PRIVATE, Canaries, attempt, declare_exchange, exchanges_of
from peatio_ws.protocol.exchanges import Delivery

log = structlog.get_logger("peatio_ws.amqp.stream_setup")

ARGUMENTS: Final[Mapping[str, Any]] = {
    # Fixed: a queue that is there already must be declared with the same ones.
    "x-queue-type": "stream",
    "x-max-age": f"{KEPT_HOURS}h",
    "x-max-length-bytes": 2_000_000_000,
    "x-stream-max-segment-size-bytes": 16_000_000,
}
STREAMS_SINCE: Final = (3, 9)
"""Version of RabbitMQ. Older ones make a classic queue of it (3.7) or refuse it (3.8)."""
STEP_SECONDS: Final = 5.0
"""How long one step of opening the stream may take."""
GIVE_UP_SECONDS: Final = 10.0
"""A stream that cannot be read for so long, while its broker answers, is not coming back soon."""
PUBLISHER_SECONDS: Final = 40.0
"""How long it may take the broker to refuse a publisher (30 s where a stream has no quorum, RabbitMQ 3.10)."""
GAP: Final = b"gap"
"""Body of a message that is put into the stream where something may be missing from it."""


class StreamSetup:
    """Makes one stream ready, as often as it has to be.

    Args:
        queue: name of the stream.
        durable: whether the publishers declare the exchanges durable.
        headers: returns those for the next marker; what reads the stream may tell other workers something by them.

    Attributes:
        canaries: next to its bindings.
        unavailable_since: monotonic time; None while it works, or its broker is away.
    """

    def __init__(self, queue: str, durable: bool, headers: Callable[[], Mapping[str, str]] = dict) -> None:
        self._queue, self._durable, self._headers = queue, durable, headers
        self.canaries = Canaries(f"{queue}.bound", durable=True)
        self.unavailable_since: float | None = None
        self._protecting: gevent.Greenlet[Any, None] | None = None  # looks whether publishers are harmed
        self._unbound = False  # by this worker, for their sake

    def on_success(self) -> None:
        """It is available, or its broker is away: what it was before does not count any more."""
        self.unavailable_since = None

    def set_up(self, connection: Connection) -> Delivery | None:
        """Declare and bind it; its last message, or None where the broker has an alarm and takes none.

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
            attempt(connection, self._declare)
        end: Delivery | None = None
        try:
            end = self.publish_marker(connection)
        except BrokerAlarm:
            log.warning("the broker takes no messages: too little memory or disk", queue=self._queue)
        with step_timeout():
            exchanges = [(name, declare_exchange(connection, name, self._durable)) for name in exchanges_of(PRIVATE)]
            whole = self.canaries.exist(connection, exchanges_of(PRIVATE))
        with step_timeout(), refusals_translated(Refusal.OTHER_ARGUMENTS):
            attempt(connection, lambda channel: self._bind(channel.queue_bind))
        if not whole:
            # What was published until it was bound may be nowhere. A message in the stream tells everybody.
            end = stream_markers.publish_and_read_back(
                connection, self._queue, STEP_SECONDS, GAP, {"id": uuid.uuid4().hex}
            )
        with step_timeout():
            self.canaries.declare(connection, exchanges)
        self._unbound = False
        return end

    def publish_marker(self, connection: Connection) -> Delivery:
        """Put a marker into the stream; see `stream_markers.publish_and_read_back`."""
        return stream_markers.publish_and_read_back(connection, self._queue, STEP_SECONDS, b"", self._headers())

    def _declare(self, channel: Any) -> None:
        channel.queue_declare(self._queue, durable=True, exclusive=False, auto_delete=False, arguments=dict(ARGUMENTS))

    def _bind(self, bind_or_unbind: Callable[[str, str, str], object]) -> None:
        for exchange, routing_key in PRIVATE:
            bind_or_unbind(self._queue, exchange, routing_key)

    def give_up(self, connection: Connection, error: SourceUnavailable, began: float) -> None:
        """Look whether publishers are harmed. Raises SourceRefused if the stream has been unavailable for too long.

        To be called whenever it is unavailable, for as long as that lasts: a node may die long after the stream was
        refused for another reason.

        Args:
            began: monotonic time, when the attempt began that found it unavailable.
        """
        if self.unavailable_since is None:
            self.unavailable_since = began
        if self._protecting is None or self._protecting.ready():
            self._protecting = gevent.spawn(self._protect_publishers, connection.clone(), self.unavailable_since)
        if time.monotonic() - self.unavailable_since >= GIVE_UP_SECONDS:
            raise SourceRefused(error.refusal, str(error)) from error

    def _protect_publishers(self, connection: Connection, since: float) -> None:
        """Unbind the stream if publishers get errors from it: bound, it would close Peatio's channels."""
        began = time.monotonic()
        try:
            while stream_markers.is_refused_to_publishers(connection, self._queue, PUBLISHER_SECONDS):
                if self.unavailable_since != since:
                    return
                if time.monotonic() - began > GIVE_UP_SECONDS / 2:
                    break
                gevent.sleep(GIVE_UP_SECONDS / 10)  # it may be just being made
            else:
                return
            with gevent.Timeout(STEP_SECONDS):
                self._unbind(connection)
        except (Exception, gevent.Timeout) as failure:  # whatever it is: this was an attempt to help
            log.debug(
                "could not find out whether publishers are harmed", queue=self._queue, error=describe_error(failure)
            )
        finally:
            connection.collect()

    def _unbind(self, connection: Connection) -> None:
        if self._unbound and not self.canaries.exist(connection, exchanges_of(PRIVATE)):
            return  # and nobody has bound it again
        self.canaries.remove(connection, exchanges_of(PRIVATE))
        attempt(connection, lambda channel: self._bind(channel.queue_unbind))
        self._unbound = True
        log.warning("unbound the history stream: the broker refuses what is published to it", queue=self._queue)


def step_timeout() -> gevent.Timeout:
    """A time limit of one step of opening the stream. Raises SourceUnavailable."""
    silence = SourceUnavailable(f"no answer about the stream within {STEP_SECONDS:g} s", answered=False)
    return gevent.Timeout(STEP_SECONDS, silence)


def _check_version(properties: Mapping[str, Any]) -> None:
    """Raises SourceRefused for a RabbitMQ that would make something else of a stream."""
    version = str(properties.get("version", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if properties.get("product") == "RabbitMQ" and found and (int(found[1]), int(found[2])) < STREAMS_SINCE:
        raise SourceRefused(Refusal.TOO_OLD, f"this is RabbitMQ {version}")
