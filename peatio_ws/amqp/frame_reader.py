"""py-amqp's transport and connection, reading what is there at once instead of seven bytes, a payload and one byte.

Extends py-amqp and kombu at the places they offer for it (`Connection.Transport`, `transport=`); changes nothing of the
protocol. Deliveries that lie in the buffer whole are taken out of it as they are; all else, and a delivery that is not
whole yet, has a body in several frames or frames of others in between, goes py-amqp's own way to the same function.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from amqp.serialization import loads
from amqp.transport import TCPTransport

from peatio_ws.amqp.tls import PlainConnection, PlainTransport, TlsTransport, read_records
from peatio_ws.protocol.exchanges import Delivery

if TYPE_CHECKING:
    from peatio_ws.amqp.socket_reader import SocketReader

READ_BYTES: Final = 65_536

Frame: TypeAlias = tuple[int, int, bytes]
"""Type, channel, payload."""

# AMQP 0-9-1 sections 2.3.5 and 4.2: frames of a method, a content header and a body, as far as they are looked at.
_METHOD: Final = struct.Struct(">BHIIB").unpack_from
"""Type, channel, size; class and method in one; how long the first argument is, where it is a short text."""
_HEADER: Final = struct.Struct(">II4xQH").unpack_from
"""The frame before's last byte, this one's type and channel in one; size; size of the body; which properties follow."""
_BODY: Final = struct.Struct(">II").unpack_from
"""The frame before's last byte, this one's type and channel in one; size."""
_NUMBER: Final = struct.Struct(">Q").unpack_from
_FRAME_END: Final = 0xCE
_DELIVER: Final = 60 << 16 | 60
_NO_HEADERS: Final[Mapping[str, Any]] = {}
_NO_TABLE: Final = (_NO_HEADERS, None)
_HAS_HEADERS: Final = 0x2000
OFFSET: Final = "x-stream-offset"
_OFFSET_HEADER: Final = b"\x0f" + OFFSET.encode() + b"l"


class DeliveryCallback(NamedTuple):
    """Who is handed the deliveries with one consumer tag.

    Attributes:
        header, body: what a content header and a body on its channel begin with, counted from the frame end before.
        handle: called with each delivery and, if `acks`, its delivery tag; may raise nothing.
        stream: whether the queue is a stream. Only there does the broker set the offset; anywhere else it is a
            publisher's header.
    """

    channel: int
    header: int
    body: int
    handle: Callable[..., None]
    acks: bool
    stream: bool


class _Buffered:
    """Mixed into py-amqp's transports.

    Attributes:
        rested: monotonic time until which the socket was last waited for, and other greenlets ran.
        read_at: when something was read last.
        drained: whether that took all that was there.
        level_at: when it did so last.
    """

    sock: Any
    connected: bool
    _buffer, _position, rested, read_at, drained, level_at = b"", 0, 0.0, 0.0, False, 0.0
    _reader: SocketReader | None = None

    def read_frame(self) -> Frame:
        """One AMQP frame (AMQP 0-9-1 section 4.2.3). Raises OSError, TimeoutError."""
        while (frame := self.next_frame()) is None:
            self.fill()
        return frame

    def next_frame(self, unpack: Any = struct.unpack_from) -> Frame | None:
        """The same without waiting: None when no whole frame is there."""
        buffer, start = self._buffer, self._position
        if len(buffer) - start < 8:
            return None
        kind, channel, size = unpack(">BHI", buffer, start)
        end = start + 7 + size
        if len(buffer) <= end:
            return None
        if buffer[end] != _FRAME_END:
            raise OSError("the broker's stream of frames is broken")
        self._position = end + 1
        return kind, channel, buffer[start + 7 : end]

    def dispatch(self, delivery_callbacks: Mapping[bytes, DeliveryCallback], other: Callable[[Frame], object]) -> bool:
        """All that is there whole, in order: deliveries to their takers, frames of any other kind to `other`.

        Returns whether there was anything. Raises OSError, and what `other` raises.
        """
        handed = self._deliver(delivery_callbacks)
        while self.has_unread and (frame := self.next_frame()) is not None:
            handed = True
            other(frame)  # which may wait for an answer meanwhile, and so come by here itself
            if not self.connected:
                break
            self._deliver(delivery_callbacks)
        return handed

    def _deliver(self, delivery_callbacks: Mapping[bytes, DeliveryCallback]) -> bool:
        """The deliveries that come next, until one is not whole or something else comes; whether there were any."""
        buffer, at, handed = self._buffer, self._position, False
        while at < len(buffer):
            try:
                kind, channel, size, method, tag_size = _METHOD(buffer, at)
                tag = at + 12 + tag_size  # where it ends
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
                headers, offset = _headers(buffer, fields, properties) if properties & _HAS_HEADERS else _NO_TABLE
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
        """Whether something was read that is not handed out; it may not be whole."""
        return self._position < len(self._buffer)

    def fill(self) -> None:
        """Read what is there, waiting until something is. Raises OSError, TimeoutError."""
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
        """Return a reader for a gevent socket; None for any other one, which waits by itself."""
        if not hasattr(self.sock, "hub"):
            return None
        from peatio_ws.amqp.socket_reader import SocketReader  # not above: `publisher.py` does without gevent

        self._reader = SocketReader(self.sock, self._read_now())
        return self._reader

    def _read_now(self) -> Callable[[int], bytes]:
        """Return what reads a gevent socket without waiting; see `SocketReader`."""
        read: Callable[[int], bytes] = self.sock._sock.recv
        return read


def _headers(buffer: bytes, place: int, properties: int) -> tuple[Mapping[str, Any], int | None]:
    """The headers of a delivery whose properties begin there, and the offset where it comes from a stream."""
    place += 2
    for flag in (0x8000, 0x4000):  # content type and encoding, short texts
        if properties & flag:
            place += 1 + buffer[place]
    start = place + 4
    end = start + int.from_bytes(buffer[place:start])
    last = end - len(_OFFSET_HEADER) - 8
    if last >= start and buffer.startswith(_OFFSET_HEADER, last):
        # As RabbitMQ appends it. Without this, telling streams apart would cost more than all the rest.
        return _table(buffer[start:last]), int.from_bytes(buffer[end - 8 : end])
    return _without_offset(_table(buffer[start:end]))


def _without_offset(headers: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    if OFFSET not in headers:
        return headers, None
    return {name: value for name, value in headers.items() if name != OFFSET}, headers[OFFSET]


@functools.lru_cache(64)
def _name(exchange: bytes) -> str:
    """Always the same text of an exchange, as history keeps many of them."""
    return str(exchange, "utf-8", "replace")


@functools.lru_cache(4096)
def _table(entries: bytes) -> Mapping[str, Any]:
    """A table of headers (AMQP 0-9-1 section 4.2.5.5). Those of one member, or market, come again and again."""
    return loads("F", len(entries).to_bytes(4) + entries, 0)[0][0] if entries else _NO_HEADERS


class _BufferedTCP(_Buffered, TCPTransport):  # type: ignore[misc]  # py-amqp has no types
    pass


class _BufferedTLS(_Buffered, TlsTransport):
    def _read_now(self) -> Callable[[int], bytes]:
        read = self.sock._sslobj.read
        return lambda size: read_records(read(size), read, size)


class BufferedConnection(PlainConnection):
    """py-amqp's connection over a buffered transport; one `drain_events` is all that one read brought.

    Attributes:
        delivery_callbacks: by consumer tag; see `consume`.
    """

    tcp, tls = _BufferedTCP, _BufferedTLS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.delivery_callbacks: dict[bytes, DeliveryCallback] = {}

    def drain_events(self, timeout: float | None = None) -> None:
        transport = self.transport
        # Who waits for an answer within a batch, as py-amqp does when a channel breaks, begins with the rest of that.
        if not (transport.has_unread and transport.dispatch(self.delivery_callbacks, self.on_inbound_frame)):
            if timeout is None:
                transport.fill()
            else:
                with transport.having_timeout(timeout):
                    transport.fill()
            self.bytes_recv += 1  # py-amqp asks only whether it grows, to tell whether the broker is alive
            transport.dispatch(self.delivery_callbacks, self.on_inbound_frame)


class BufferedTransport(PlainTransport):
    """kombu's transport that reads with gevent, as much as is there at once."""

    Connection = BufferedConnection


def consume(channel: Any, queue: str, handle: Callable[..., None], acks: bool = False, **options: Any) -> None:
    """Hear a queue from now on; its name is the consumer tag.

    Args:
        channel: kombu's, of any broker; its `auto_decode` is off.
        handle: called with each `Delivery`, and its delivery tag (int) if `acks`; may raise nothing.
        options: more for py-amqp's `basic_consume`; with `x-stream-offset` among its `arguments` the queue is a stream.
    """

    stream = OFFSET in (options.get("arguments") or ())  # a consumer of a stream says where to begin

    def on_message(message: Any) -> None:
        info, body = message.delivery_info, message.body
        headers, offset = _without_offset(message.headers or _NO_HEADERS)
        if not stream:
            offset = None
        body = body.encode() if isinstance(body, str) else bytes(body)
        delivery = Delivery(info["exchange"], info["routing_key"], headers, body, offset)
        handle(delivery, *([message.delivery_tag] if acks else []))

    connection = channel.connection
    if isinstance(connection, BufferedConnection):
        number = channel.channel_id
        after = _FRAME_END << 24 | number
        connection.delivery_callbacks[queue.encode()] = DeliveryCallback(
            number, after | 2 << 16, after | 3 << 16, handle, acks, stream
        )
        # py-amqp would do it after the broker's answer; a delivery may have come with that.
        channel.callbacks[queue] = on_message
    # Not by kombu's Consumer, whose messages cost a tenth of what an event costs in all.
    channel.basic_consume(queue=queue, no_ack=not acks, consumer_tag=queue, callback=on_message, **options)
