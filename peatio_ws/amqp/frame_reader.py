"""py-amqp's transport and connection, reading all available bytes at once instead of each frame in three reads.

Extends py-amqp and kombu at their extension points (`Connection.Transport`, `transport=`), and does not change the
protocol. All deliveries of a consumer are parsed here. Those that are not complete in the buffer, bodies in several
frames, and deliveries with other frames in between are put together first (`partial_deliveries.py`): py-amqp's parser
(5.4.2) raises other exceptions than connection errors for some properties and routing keys that RabbitMQ accepts.
Other frames take py-amqp's way.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from amqp.transport import TCPTransport

from peatio_ws.amqp.content_header import HAS_HEADERS, NO_HEADERS, OFFSET, read_headers, split_offset
from peatio_ws.amqp.partial_deliveries import METHOD, PartialDeliveries
from peatio_ws.amqp.tls import PlainConnection, PlainTransport, TlsTransport, read_records
from peatio_ws.protocol.exchanges import Delivery

if TYPE_CHECKING:
    from peatio_ws.amqp.socket_reader import SocketReader

READ_BYTES: Final = 65_536

Frame: TypeAlias = tuple[int, int, bytes]
"""Type, channel, payload."""

# AMQP 0-9-1 sections 2.3.5 and 4.2: the parts of method, content header and body frames that are read here.
_METHOD: Final = struct.Struct(">BHIIB").unpack_from
"""Type, channel, size; class and method in one number; length of the first argument, if it is a short string."""
_HEADER: Final = struct.Struct(">II4xQH").unpack_from
"""End byte of the frame before, type and channel in one number; size; size of the body; flags of the properties."""
_BODY: Final = struct.Struct(">II").unpack_from
"""End byte of the frame before, type and channel in one number; size."""
_NUMBER: Final = struct.Struct(">Q").unpack_from
_FRAME_END: Final = 0xCE
_DELIVER: Final = 60 << 16 | 60
_DELIVER_METHOD: Final = _DELIVER.to_bytes(4)
_NO_TABLE: Final = (NO_HEADERS, None)


class DeliveryCallback(NamedTuple):
    """The receiver of deliveries with one consumer tag.

    Attributes:
        header, body: first number of a content header and of a body on its channel, the end byte before included.
        handle: called with each delivery and, if `acks`, its delivery tag; must not raise.
        stream: whether the queue is a stream. Only there does the broker set the offset; in other queues a publisher
            may have set that header.
    """

    channel: int
    header: int
    body: int
    handle: Callable[..., None]
    acks: bool
    stream: bool


class _Buffered:
    """A mixin for py-amqp's transports.

    Attributes:
        rested: monotonic time of the end of the last wait for the socket, when other greenlets ran.
        read_at: monotonic time of the last read.
        drained: whether the last read took all available bytes.
        level_at: monotonic time of the last read that did.
    """

    sock: Any
    connected: bool
    _buffer, _position, rested, read_at, drained, level_at = b"", 0, 0.0, 0.0, False, 0.0
    _reader: SocketReader | None = None
    _partial: PartialDeliveries | None = None

    def read_frame(self) -> Frame:
        """Read an AMQP frame (AMQP 0-9-1 section 4.2.3). Raises OSError, TimeoutError."""
        while (frame := self.next_frame()) is None:
            self.fill()
        return frame

    def next_frame(self, unpack: Any = struct.unpack_from) -> Frame | None:
        """Return the next frame without waiting; None if no complete frame is buffered."""
        buffer, start = self._buffer, self._position
        if len(buffer) - start < 8:
            return None
        kind, channel, size = unpack(">BHI", buffer, start)
        end = start + 7 + size
        if len(buffer) <= end:
            return None
        if buffer[end] != _FRAME_END:
            raise OSError("invalid frame from the broker")
        self._position = end + 1
        return kind, channel, buffer[start + 7 : end]

    def dispatch(self, delivery_callbacks: Mapping[bytes, DeliveryCallback], other: Callable[[Frame], object]) -> bool:
        """Pass each complete delivery in the buffer to its receiver, and each other frame to `other`, in order.

        Returns whether there was any. Raises OSError, and what `other` raises.
        """
        handed = self._deliver(delivery_callbacks)
        while self.has_unread and (frame := self.next_frame()) is not None:
            handed = True
            if not self._put_together(frame, delivery_callbacks):
                other(frame)  # may wait for an answer, and so call this method itself
            if not self.connected:
                break
            self._deliver(delivery_callbacks)
        return handed

    def _put_together(self, frame: Frame, delivery_callbacks: Mapping[bytes, DeliveryCallback]) -> bool:
        """Take a frame of a delivery. Return False if it is another frame. The last one puts the delivery back into the
        buffer, as frames that `_deliver` passes on. Raises OSError."""
        kind, channel, payload = frame
        partial = self._partial = self._partial or PartialDeliveries()
        whole = partial.add(kind, channel, payload)
        if whole:
            self._buffer, self._position = b"".join((*whole, self._buffer[self._position :])), 0
            if not self._deliver(delivery_callbacks):
                raise OSError("invalid delivery from the broker")
        if whole is not None:
            return True
        if kind != METHOD or payload[:4] != _DELIVER_METHOD:
            return False
        sink = delivery_callbacks.get(payload[5 : 5 + payload[4]])
        if sink is None or sink.channel != channel:
            return False
        partial.begin(channel, payload)
        return True

    def _deliver(self, delivery_callbacks: Mapping[bytes, DeliveryCallback]) -> bool:
        """Pass on deliveries until one is incomplete or another frame comes. Return whether there were any."""
        buffer, at, handed = self._buffer, self._position, False
        while at < len(buffer):
            try:
                kind, channel, size, method, tag_size = _METHOD(buffer, at)
                tag = at + 12 + tag_size  # end of the consumer tag
                if method != _DELIVER or kind != 1 or (sink := delivery_callbacks.get(buffer[at + 12 : tag])) is None:
                    return handed
                end = at + 7 + size
                mark, size, body_size, properties = _HEADER(buffer, end)
                if channel != sink.channel or mark != sink.header:
                    return handed
                fields, end = end + 20, end + 8 + size
                if body_size:
                    mark, size = _BODY(buffer, end)
                    if mark != sink.body or size != body_size:
                        return handed
                    end += 8 + size
                if buffer[end] != _FRAME_END:
                    return handed
                exchange = tag + 10  # after the delivery tag, `redelivered` and its own length
                key = exchange + buffer[exchange - 1] + 1
                headers, offset = read_headers(buffer, fields, properties) if properties & HAS_HEADERS else _NO_TABLE
                if not sink.stream:
                    offset = None
                source = _name(buffer[exchange : key - 1])
                routing_key = str(buffer[key : key + buffer[key - 1]], "utf-8", "replace")
                delivery = Delivery(source, routing_key, headers, buffer[end - body_size : end], offset)
            except (struct.error, IndexError):
                return handed
            self._position = at = end + 1
            handed = True
            if sink.acks:
                sink.handle(delivery, *_NUMBER(buffer, tag))
            else:
                sink.handle(delivery)
        return handed

    @property
    def has_unread(self) -> bool:
        """Whether the buffer has unprocessed bytes, perhaps of an incomplete frame."""
        return self._position < len(self._buffer)

    def fill(self) -> None:
        """Read all available bytes; wait if there are none. Raises OSError, TimeoutError."""
        waits = self.drained
        reader = self._reader or self._open_reader()
        data = (reader or self.sock).recv(READ_BYTES)
        self.read_at = time.monotonic()
        if waits:
            self.rested = self.read_at
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        self.drained = len(data) < READ_BYTES
        if self.drained or not self.level_at:
            self.level_at = self.read_at
        self._buffer, self._position = self._buffer[self._position :] + data, 0

    def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        super().close()  # type: ignore[misc]  # py-amqp's, which this is mixed into

    def _open_reader(self) -> SocketReader | None:
        """Return a reader for a gevent socket; None for a blocking socket."""
        if not hasattr(self.sock, "hub"):
            return None
        from peatio_ws.amqp.socket_reader import SocketReader  # not at the top: `publisher.py` must not load gevent

        self._reader = SocketReader(self.sock, self._read_now())
        return self._reader

    def _read_now(self) -> Callable[[int], bytes]:
        """Return a function that reads from a gevent socket without waiting; see `SocketReader`."""
        read: Callable[[int], bytes] = self.sock._sock.recv
        return read


@functools.lru_cache(64)
def _name(exchange: bytes) -> str:
    """Return an exchange's name, always as the same object, because history keeps many of them."""
    return str(exchange, "utf-8", "replace")


class _BufferedTCP(_Buffered, TCPTransport):  # type: ignore[misc]  # py-amqp has no types
    pass


class _BufferedTLS(_Buffered, TlsTransport):
    def _read_now(self) -> Callable[[int], bytes]:
        read = self.sock._sslobj.read
        return lambda size: read_records(read(size), read, size)


class BufferedConnection(PlainConnection):
    """py-amqp's connection over a buffered transport. One `drain_events` handles everything of one read.

    Attributes:
        delivery_callbacks: by consumer tag; see `consume`.
    """

    tcp, tls = _BufferedTCP, _BufferedTLS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.delivery_callbacks: dict[bytes, DeliveryCallback] = {}

    def drain_events(self, timeout: float | None = None) -> None:
        transport = self.transport
        # A call that waits for an answer within a batch, as in py-amqp when a channel breaks, continues the batch.
        if not (transport.has_unread and transport.dispatch(self.delivery_callbacks, self.on_inbound_frame)):
            if timeout is None:
                transport.fill()
            else:
                with transport.having_timeout(timeout):
                    transport.fill()
            self.bytes_recv += 1  # py-amqp only checks whether it grows, to see that the broker is alive
            transport.dispatch(self.delivery_callbacks, self.on_inbound_frame)


class BufferedTransport(PlainTransport):
    """kombu's transport with `BufferedConnection`. Requires gevent."""

    Connection = BufferedConnection


def consume(channel: Any, queue: str, handle: Callable[..., None], acks: bool = False, **options: Any) -> None:
    """Start to consume a queue. Its name is the consumer tag.

    Args:
        channel: kombu's channel to any broker, with `auto_decode` off.
        handle: called with each `Delivery`, and its delivery tag (int) if `acks`; must not raise.
        options: more for `basic_consume`; the queue is a stream if `arguments` has `x-stream-offset`.
    """

    def on_message(message: Any) -> None:
        """Pass on a delivery of the in-process broker, which has no streams. Others take the way of `dispatch`."""
        info, body = message.delivery_info, message.body
        headers, _ = split_offset(message.headers or NO_HEADERS)
        body = body.encode() if isinstance(body, str) else bytes(body)
        delivery = Delivery(info["exchange"], info["routing_key"], headers, body)
        handle(delivery, *([message.delivery_tag] if acks else []))

    connection = channel.connection
    if isinstance(connection, BufferedConnection):
        number = channel.channel_id
        stream = OFFSET in (options.get("arguments") or ())  # every consumer of a stream sets it
        after = _FRAME_END << 24 | number
        connection.delivery_callbacks[queue.encode()] = DeliveryCallback(
            number, after | 2 << 16, after | 3 << 16, handle, acks, stream
        )
    # Not with kombu's Consumer: its messages take a tenth of the total cost of an event.
    channel.basic_consume(queue=queue, no_ack=not acks, consumer_tag=queue, callback=on_message, **options)
