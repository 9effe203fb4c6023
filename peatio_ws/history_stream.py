"""The private events of all three exchanges in one durable stream of RabbitMQ, which every worker reads.

An event's offset in it is its place in history, the same for every worker and host. After a lost connection reading
goes on behind the last offset, so that nothing is missed. What is kept of it is `history.py`'s; the arguments are in
RabbitMQ's documentation of streams.
"""

from __future__ import annotations

import enum
import random
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
import structlog
from amqp.exceptions import AccessRefused, AMQPNotImplementedError, NotFound, PreconditionFailed, ResourceError
from kombu import Connection, Queue

from peatio_ws.amqp_transport import OFFSET, consume
from peatio_ws.consumer import PRIVATE, OwnQueue, declare
from peatio_ws.events import Delivery

log = structlog.get_logger("peatio_ws.history_stream")

KEPT_HOURS: Final = 1
ARGUMENTS: Final[Mapping[str, Any]] = {
    # Fixed: a queue that is there already must be declared with the same ones.
    "x-queue-type": "stream",
    "x-max-age": f"{KEPT_HOURS}h",
    "x-max-length-bytes": 2_000_000_000,
    "x-stream-max-segment-size-bytes": 16_000_000,
}
PREFETCH: Final = 2000
ACK_EACH: Final = 500
ACK_SECONDS: Final = 60.0
"""The last few are acknowledged too: RabbitMQ closes a channel that owes an acknowledgement for half an hour."""
IDLE_SECONDS: Final = 5.0
"""If nothing comes for so long, though a marker was confirmed, the stream is not the one that was read before."""
MARK_SECONDS: Final = 8.0
GAP: Final = b"gap"
"""Body of a message that is put into the stream where something may be missing from it."""
DOWN_SECONDS: Final = 20.0
"""A stream that the broker has and cannot open for so long is not coming back soon. It takes half a second after a
restart; without end if a broker was killed just as it made the stream (RabbitMQ 3.10)."""
BIRTH_STEP: Final = 0.1
"""Seconds between two looks whether a stream that another worker is just making is there."""
PROBE_SECONDS: Final = 0.5
"""So far apart are the markers published for clients that have seen more than was read here."""
MARK_EACH: Final = 30.0
"""So often a marker is published, about: cursors stay fresh on a quiet exchange, and how far behind reading is gets
known on a busy one."""


class _Fate(enum.Enum):
    """What became of a marker on its way to the stream."""

    UNDERWAY = "not known yet"
    CONFIRMED = "the stream has it"
    REFUSED = "the broker answers, but takes no messages"
    FAILED = "the broker did not get it"


class _NotTaken(ConnectionError):
    """The broker did not confirm a message."""


class HistoryStream:
    """A source that reads the stream; a queue of this worker's own where the broker refuses streams.

    Args:
        queue: name of the stream.
        durable: whether the publishers declare the exchanges durable.
        seconds: how far to read back at first.
        handle: called with each delivery.
        anew: called when events do not go on where they were; with whether they still come from a stream.
    """

    name = "private"

    def __init__(
        self,
        queue: str,
        durable: bool,
        seconds: float,
        handle: Callable[[Delivery], None],
        anew: Callable[[bool], None],
    ) -> None:
        self._queue, self._durable, self._seconds = queue, durable, seconds
        self._handle, self._anew = handle, anew
        self._instead: OwnQueue | None = None
        self._connection: Any = None
        self._line: Any = None  # py-amqp's, below it
        self._channel: Any = None
        self._last = -1  # offset of the last delivery
        self._down_since = 0.0
        self._tag = self._acked = 0
        self._acked_at = self._came_at = 0.0
        self._marker = b""  # that has not come yet
        self._fate = _Fate.UNDERWAY
        self._told_at, self._received_then = 0.0, 0  # when its fate was known, and how much had been received then
        self._marked_at = self._read_up_to = 0.0  # when the last one was made, and the last one that came
        self._heard: Callable[[], None] | None = None  # until it is called
        self._lag = 0.0  # of the last marker that came
        self._mark_each = MARK_EACH * random.uniform(1, 1.3)  # not all workers at once

    def open(self, connection: Connection, heard: Callable[[], None]) -> None:
        if self._instead is not None:
            self._instead.open(connection, heard)
            return
        self._channel = channel = connection.default_channel
        queue = Queue(self._queue, durable=True, queue_arguments=dict(ARGUMENTS), channel=connection)
        try:
            declare(connection, queue, PRIVATE, self._durable)
        except (PreconditionFailed, AMQPNotImplementedError, AccessRefused) as error:
            if "exchange" in str(error):
                raise
            self._refused(error)
        except NotFound as error:
            self._down_since = self._down_since or time.monotonic()
            if time.monotonic() - self._down_since < DOWN_SECONDS:
                raise
            self._refused(error)
        self._down_since = 0.0
        if not self._durable:
            self._look_for_gap(connection)
        channel.basic_qos(prefetch_size=0, prefetch_count=PREFETCH, a_global=False)
        if self._last >= 0 and time.monotonic() - self._came_at > KEPT_HOURS * 1800:
            self._lose("what was published meanwhile may have left the stream")
        start: int | str = self._last + 1 if self._last >= 0 else f"{int(self._seconds) + 1}s"
        self._connection, self._line, self._heard = connection, connection.connection, heard
        self._tag = self._acked = 0
        self._came_at = self._acked_at = time.monotonic()
        self._mark()
        consume(channel, self._queue, self._on_delivery, acks=True, arguments={OFFSET: start})

    def rest(self) -> None:
        owed = self._tag - self._acked
        if owed >= ACK_EACH or (owed and time.monotonic() - self._acked_at > ACK_SECONDS):
            self._channel.basic_ack(self._tag, multiple=True)
            self._acked, self._acked_at = self._tag, time.monotonic()

    def check(self) -> None:
        if self._instead is not None:
            return
        now = time.monotonic()
        if not self._marker:
            if now - self._marked_at > self._mark_each:
                self._mark()
            return
        # The silence of a broker that is frozen, or while this worker is, says nothing.
        alive = self._line.bytes_recv > self._received_then
        silent = alive and now - max(self._came_at, self._told_at) > IDLE_SECONDS
        if self._fate is _Fate.CONFIRMED and silent:
            self._lose("the stream does not go on where it was")
            raise ConnectionError("reading the stream anew")
        if self._fate is _Fate.REFUSED and silent:
            # An alarm? Then it takes nothing from anybody, and there is nothing more to come.
            self._reached_end()
        elif self._fate is _Fate.FAILED or (self._fate is _Fate.REFUSED and now - self._came_at < IDLE_SECONDS):
            self._send_marker()

    def has_read_up_to(self, moment: float) -> bool:
        """Whether all that was in the stream at this monotonic time has come. If that is not known, a marker is sent to
        find out. Never waits."""
        if self._instead is not None or self._read_up_to > moment:
            return True
        if not self._marker and self._connection is not None and time.monotonic() - self._marked_at > PROBE_SECONDS:
            self._mark()
        return False

    def lag(self) -> float:
        if self._marker and self._fate is _Fate.CONFIRMED:
            return time.monotonic() - self._told_at
        return self._lag

    def _look_for_gap(self, connection: Connection) -> None:
        """Exchanges that are not durable are gone when the broker restarts, and with them what binds the stream to
        them.

        What is published from then until a worker has bound it again is nowhere. An exchange of our own, no more
        durable than those, tells that it happened; a message in the stream, where it happened, and so everybody.
        """
        name = f"{self._queue}.bound"
        with connection.channel() as channel:
            try:
                channel.exchange_declare(name, "fanout", passive=True)
                return
            except NotFound:
                pass
        while not self._put_if_there(GAP, connection):
            gevent.sleep(BIRTH_STEP)  # whoever opens a connection has a time limit
        connection.default_channel.exchange_declare(name, "fanout", durable=False, auto_delete=False)

    def _refused(self, error: Exception) -> None:
        log.warning(
            "the broker refuses the history stream; each worker keeps its own, and a client that comes back to another "
            "one is told that it may have missed something (RabbitMQ has streams since 3.9; its user has to be allowed "
            "to configure, write and read this queue; one of this name with other arguments has to be deleted)",
            queue=self._queue,
            error=str(error),
        )
        self._instead = OwnQueue(self.name, self._durable, PRIVATE, self._handle)
        self._anew(False)
        raise ConnectionError("taking a queue of this worker's own")

    def _lose(self, why: str) -> None:
        log.warning("events may have been missed; clients that resume are told", queue=self._queue, why=why)
        self._last = -1
        self._marker = b""
        self._anew(True)

    def _on_delivery(self, delivery: Delivery, tag: int) -> None:
        self._tag, self._came_at = tag, time.monotonic()
        assert delivery.offset is not None
        self._last = delivery.offset
        self._handle(delivery)
        if self._marker and delivery.body == self._marker and not delivery.exchange:
            self._reached_end()

    def _reached_end(self) -> None:
        # It may come before the broker's confirmation is here: then it was not behind at all.
        self._lag = max(0.0, time.monotonic() - self._told_at) if self._fate is _Fate.CONFIRMED else 0.0
        self._marker, self._read_up_to = b"", self._marked_at
        heard, self._heard = self._heard, None
        if heard is not None:
            heard()

    def _mark(self) -> None:
        """Publish a marker: when it comes, everything before it has come."""
        self._marker, self._marked_at = uuid.uuid4().bytes, time.monotonic()
        self._send_marker()

    def _send_marker(self) -> None:
        self._fate = _Fate.UNDERWAY
        gevent.spawn(self._publish, self._marker, self._connection)

    def _publish(self, marker: bytes, reading: Connection) -> None:
        fate = _Fate.CONFIRMED
        try:
            with gevent.Timeout(MARK_SECONDS, TimeoutError("no answer")):
                self._put(marker, reading)
        except _NotTaken:
            fate = _Fate.REFUSED
        except Exception as error:  # whatever it is: `check` sees to it
            log.debug("marker not published", error=str(error) or type(error).__name__)
            fate = _Fate.FAILED
        if marker == self._marker and reading is self._connection:
            self._fate, self._told_at = fate, time.monotonic()
            self._received_then = self._line.bytes_recv

    def _put_if_there(self, body: bytes, reading: Connection) -> bool:
        """`_put`; False while the stream can be declared, but not written to yet: its first worker is still at it."""
        try:
            self._put(body, reading)
        except _NotTaken as error:
            if isinstance(error.__cause__, ResourceError):
                return False
            raise
        return True

    def _put(self, body: bytes, reading: Connection) -> None:
        """Put a message into the stream, and not by the connection that reads: there a blocked publisher is a blocked
        reader (RabbitMQ, "Alarms").

        Raises:
            _NotTaken: the broker was there, and did not confirm it; else what kombu and py-amqp raise.
        """
        another = reading.clone(transport_options={**reading.transport_options, "confirm_publish": True})
        try:
            another.connect()
            producer = another.Producer()
            try:
                producer.publish(
                    body,
                    routing_key=self._queue,
                    content_type="application/octet-stream",
                    content_encoding="binary",
                    delivery_mode=2,
                )
            except Exception as error:
                raise _NotTaken(str(error)) from error
            another.close()
        finally:
            another.collect()  # not close(): the broker may be frozen
