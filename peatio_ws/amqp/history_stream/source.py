"""Reads the private events of all three exchanges from one durable stream in RabbitMQ, which all workers read.

An event's offset in the stream is its position in history, the same for every worker and host. `history.py` keeps the
events; `setup.py` declares the stream.

Theory of operation:

- *Continuing.* After a lost connection, the reader consumes from its last event, and compares the first event it
  receives with it (`offset.py`). Retention may have removed events, or the stream may be a new one.
- *Knowing the end.* From time to time, and whenever nothing has arrived for a second, a marker is published to the
  stream (`markers.py`). Once the reader receives it, the reader has received everything before it.
- *Noticing a lost replica.* RabbitMQ does not notify a reader whose replica is gone. The marker shows it: the broker
  refuses to read it back at this node, and nothing arrives here. The consumer then tries the next broker.
- *Refusals.* The broker's codes decide whether the stream is refused (`SourceRefused`) or unavailable for the moment
  (`SourceUnavailable`). A stream that is unavailable for `GIVE_UP_SECONDS` counts as refused.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
import structlog
from kombu import Connection

from peatio_ws.amqp.connection import describe_error
from peatio_ws.amqp.content_header import OFFSET
from peatio_ws.amqp.frame_reader import consume
from peatio_ws.amqp.history_stream.markers import BrokerAlarm, refusals_translated
from peatio_ws.amqp.history_stream.offset import READER, ReaderInput, ReaderState, is_gap, offset_of, start
from peatio_ws.amqp.history_stream.setup import GIVE_UP_SECONDS, StreamSetup, step_timeout
from peatio_ws.amqp.history_stream.silence import Silence, now
from peatio_ws.amqp.source import Refusal, Reopen, SourceRefused, SourceUnavailable
from peatio_ws.protocol.exchanges import Delivery

log = structlog.get_logger("peatio_ws.amqp.history_stream.source")

PREFETCH: Final = 2000
ACK_EACH: Final = 500
ACK_SECONDS: Final = 60.0
"""Fewer deliveries are acknowledged after this time. RabbitMQ closes a channel that owes one for half an hour."""
IDLE_SECONDS: Final = 5.0
"""If nothing arrives for this long after opening although the stream has more, the connection is opened again."""
QUIET_SECONDS: Final = 1.0
"""If nothing arrives for this long, a marker is published. Every worker receives it, so all workers together publish
about one a second to a quiet stream, and none to a busy one."""
MARK_EACH: Final = 10.0
"""Approximate seconds between markers, for fresh cursors on a quiet exchange, and to measure the reader's lag."""
MARKED_WITHIN: Final = 20.0
"""Each event is preceded, within these seconds, by a marker with the key of its cursor (`cursor.py`)."""
PROBE_SECONDS: Final = 0.5
"""Seconds between markers that are published for clients whose cursor is ahead of this reader."""
REMOVED: Final = (
    "the stream no longer has them: this reader was disconnected, or too slow, for longer than events are kept"
)


class StreamSource:
    """A source that reads the stream.

    Args:
        queue: name of the stream.
        durable: whether the publishers declare the exchanges durable.
        seconds: how far to read back at the first start.
        handle: called with each delivery; must not raise.
        on_gap: called if events may have been missed, before the first event after the gap.
        marker_headers: see `StreamSetup`.
    """

    name = "private"

    def __init__(
        self,
        queue: str,
        durable: bool,
        seconds: float,
        handle: Callable[[Delivery], None],
        on_gap: Callable[[], None],
        marker_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._queue, self._seconds = queue, seconds + MARKED_WITHIN
        self._handle, self._on_gap = handle, on_gap
        self._setup = StreamSetup(queue, durable, marker_headers)
        self._state = ReaderState.CLOSED
        self._last: Delivery | None = None  # None if there is no event to continue from
        self._silence = Silence()
        # State of one connection:
        self._connection: Any = None
        self._line: Any = None  # py-amqp's connection below kombu's
        self._channel: Any = None
        self._on_read: Callable[[], None] | None = None  # until it is called
        self._tag, self._acked, self._acked_at = 0, 0, 0.0
        # State of the current marker:
        self._end = -1  # its offset; -1 if unknown
        self._marking: gevent.Greenlet[Any, Any] | None = None
        self._alarmed = False  # the broker accepts no messages
        self._at_end = False  # everything up to the last marker has been received
        self._failed: SourceRefused | SourceUnavailable | None = None  # raised by `check`
        self._marked_at = self._ended_at = 0.0  # when the marker was published, and when it was read back
        self._tried_at = 0.0  # when publishing a marker was last tried
        self._read_up_to = 0.0  # when the last marker that arrived was published
        self._received_then, self._lag = 0, 0.0
        self._mark_each = MARK_EACH * random.uniform(1, 1.3)  # jitter, so that workers do not publish at the same time

    @property
    def state(self) -> ReaderState:
        """See `offset.py`."""
        return self._state

    # ---- opening

    def open(self, connection: Connection, on_read: Callable[[], None]) -> None:
        self._marked_at = self._tried_at = time.monotonic()
        end = self._setup.set_up(connection)
        last = self._last
        if last is not None and end is not None and offset_of(end) < offset_of(last):
            self._forget_position("the stream ends before the last event read")
            last = None
        self._connection, self._line, self._on_read = connection, connection.connection, on_read
        self._channel, self._tag, self._acked = connection.default_channel, 0, 0
        self._acked_at = self._ended_at = time.monotonic()
        self._silence.restart()
        self._alarmed, self._end = end is None, -1 if end is None else offset_of(end)
        self._at_end = False
        self._received_then = self._line.bytes_recv
        self._step(ReaderInput.OPENED if last is None else ReaderInput.OPENED_AT_LAST)
        offset = start(last, self._seconds, self._silence.seconds)
        with step_timeout(), refusals_translated(Refusal.NO_REPLICA):
            self._channel.basic_qos(prefetch_size=0, prefetch_count=PREFETCH, a_global=False)
            consume(self._channel, self._queue, self.on_delivery, acks=True, arguments={OFFSET: offset})

    def prepare(self, connection: Connection) -> None:
        self._last = self._setup.set_up(connection)
        self._silence.last_at = now()
        if self._last is None:
            raise BrokerAlarm("the broker accepts no messages: it has too little memory or disk")

    def skip(self, seconds: float) -> None:
        self._last, self._silence.last_at = None, now() - seconds

    # ---- reading

    def after_batch(self) -> None:
        if self._state is ReaderState.LOST:
            raise Reopen("the stream is not the one that was read before")
        owed = self._tag - self._acked
        if owed >= ACK_EACH or (owed and time.monotonic() - self._acked_at > ACK_SECONDS):
            self._channel.basic_ack(self._tag, multiple=True)
            self._acked, self._acked_at = self._tag, time.monotonic()

    def on_delivery(self, delivery: Delivery, tag: int) -> None:
        self._tag = tag
        if self._state is ReaderState.PROVING and not self._is_unread(delivery):
            return
        if self._state is ReaderState.LOST:
            return
        if (last := self._last) is not None and is_gap(last, delivery):
            self._forget_position(REMOVED)
        self._last, self._silence.last_at = delivery, now()
        self._handle(delivery)
        if offset_of(delivery) >= self._end >= 0:
            self._on_end_reached()

    def _is_unread(self, delivery: Delivery) -> bool:
        """Compare the first delivery with the last one read. Return whether it is new."""
        last = self._last
        assert last is not None
        if offset_of(delivery) > offset_of(last):
            self._step(ReaderInput.LATER_EVENT)
            self._forget_position(REMOVED)  # even if it is the next offset, the stream may be a new one
            return True
        if delivery != last:
            self._step(ReaderInput.OTHER_EVENT)
            self._forget_position("another event has the offset of the last one read")
            return False
        self._step(ReaderInput.SAME_EVENT)
        if offset_of(delivery) >= self._end >= 0:
            self._on_end_reached()
        return False

    def _forget_position(self, why: str) -> None:
        log.warning("events may have been missed", queue=self._queue, why=why)
        self._last = None
        self._on_gap()

    def closed(self, unreachable: bool) -> None:
        if unreachable:
            self._setup.on_success()  # unreachable brokers say nothing about the stream
        self._step(ReaderInput.CLOSED)
        self._connection = self._channel = self._on_read = self._failed = self._marking = None
        self._setup.canaries.forget()

    def _step(self, happened: ReaderInput) -> None:
        self._state = READER[self._state, happened]

    # ---- markers

    def check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._connection is None:
            return
        self._setup.canaries.check_bindings()
        if self._silence.is_dead(self._tag, self._state is ReaderState.CURRENT and self._end >= 0):
            raise Reopen("the stream has stalled")
        moment, read_at = time.monotonic(), self._silence.since
        if self._is_awaited():
            # Silence means nothing if the broker, or this worker, is frozen.
            alive = self._line.bytes_recv > self._received_then
            if alive and moment - max(self._ended_at, read_at) > IDLE_SECONDS:
                self._on_silence()
            elif self._alarmed and read_at > self._ended_at and moment - self._tried_at > IDLE_SECONDS:
                self._mark()  # something arrived, so the alarm may be over
        elif self._alarmed:
            if moment - self._marked_at > IDLE_SECONDS:
                self._mark()
        elif moment - self._marked_at > self._mark_each or moment - read_at > QUIET_SECONDS:
            self._mark()

    def has_read_up_to(self, moment: float) -> bool:
        if self._read_up_to > moment:
            return True
        rested = time.monotonic() - self._tried_at > PROBE_SECONDS
        if rested and self._connection is not None and not self._is_awaited():
            self._mark()
        return False

    def lag(self) -> float:
        return time.monotonic() - self._ended_at if self._end >= 0 else self._lag

    def _is_awaited(self) -> bool:
        """Return whether the reader waits for a marker; during an alarm, whether more events may arrive."""
        return not self._at_end

    def _on_silence(self) -> None:
        """Handle silence while the broker is alive and a delivery should, or may, arrive."""
        if self._marking is not None:
            return  # it has its own timeout
        if self._state is ReaderState.PROVING:
            self._step(ReaderInput.OTHER_EVENT)
            self._forget_position("the stream does not have the last event read")
        elif self._alarmed:
            self._on_end_reached()  # the broker accepts no messages, so there are no more
            return
        raise Reopen("the stream has stalled")

    def _on_end_reached(self) -> None:
        self._lag = max(0.0, time.monotonic() - self._ended_at)
        self._end, self._at_end, self._read_up_to = -1, True, self._marked_at
        self._step(ReaderInput.END_REACHED)
        on_read, self._on_read = self._on_read, None
        if on_read is not None:
            on_read()

    def _mark(self) -> None:
        """Publish a marker. When it arrives, everything before it has arrived."""
        self._marked_at = self._tried_at = time.monotonic()
        self._received_then, self._at_end = self._line.bytes_recv, False
        self._silence.restart()
        self._marking = gevent.spawn(self._publish, self._connection)

    def _publish(self, reading: Connection) -> None:
        found: Delivery | Exception
        try:
            found = self._setup.publish_marker_again(reading)
        except Exception as error:  # any error: `_on_marker` handles it
            found = error
        if reading is self._connection:
            self._marking, self._ended_at = None, time.monotonic()
            self._on_marker(found, reading)

    def _on_marker(self, found: Delivery | Exception, reading: Connection) -> None:
        self._alarmed = isinstance(found, BrokerAlarm)
        if isinstance(found, Delivery):
            self._setup.on_success()
            self._end = offset_of(found)
            if self._last is not None and self._state is not ReaderState.PROVING and offset_of(self._last) >= self._end:
                self._on_end_reached()  # it had arrived before its offset was known
        elif not self._alarmed:
            log.debug("marker not published", error=describe_error(found))
            began, self._at_end, self._marked_at = self._marked_at, True, 0.0  # retried at the next check
            if isinstance(found, SourceRefused):
                self._failed = found
            elif isinstance(found, SourceUnavailable):
                self._on_unavailable(found, reading, began)

    def _on_unavailable(self, error: SourceUnavailable, reading: Connection, began: float) -> None:
        try:
            self._setup.give_up(reading, error, began)
        except SourceRefused as refused:
            if time.monotonic() - self._silence.since >= GIVE_UP_SECONDS:  # otherwise it can still be read
                self._failed = refused
        else:
            if error.refusal is Refusal.NO_REPLICA and self._silence.since < began:
                self._failed = error  # another broker may have one
