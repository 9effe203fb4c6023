"""Deliveries are read from the broker's bytes, however frames and reads split them."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
from datetime import datetime
from typing import Any, NamedTuple

import gevent
import msgspec
import pytest
from amqp import Channel, Message, spec
from amqp.exceptions import AMQPError
from amqp.method_framing import frame_handler
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection

from peatio_ws.amqp.content_header import OFFSET
from peatio_ws.amqp.frame_reader import READ_BYTES, BufferedConnection, _BufferedTCP, consume
from peatio_ws.protocol.exchanges import Delivery

HEARTBEAT = struct.pack(">BHIB", 8, 0, 0, 0xCE)


class Handled(NamedTuple):
    """The arguments of a handler's call."""

    queue: str
    delivery: Delivery
    number: int | None


class Pieces:
    """A stand-in for the socket: each read returns at most one piece. Without pieces it times out."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise TimeoutError
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]


class Line:
    """A connection to a broker after the handshake, with answers that the test chooses.

    Attributes:
        sent: methods sent to the broker.
        answers: the broker's answer to a method, and bytes that follow it.
    """

    def __init__(self) -> None:
        self.sock, self.handled = Pieces(), list[Handled]()
        self.sent: list[tuple[int, int]] = []
        self.answers: dict[tuple[int, int], bytes] = {}
        self.amqp = BufferedConnection()
        self.amqp.transport = transport = _BufferedTCP("localhost:1")
        transport.sock, transport.connected = self.sock, True
        self.amqp.on_inbound_frame = frame_handler(self.amqp, self.amqp.on_inbound_method)
        self.amqp.frame_writer = self.write

    def write(self, _kind: int, _channel: int, method: tuple[int, int], *_: Any) -> None:
        self.sent.append(method)
        if method in self.answers:
            self.sock.pieces.append(self.answers[method])

    def consume_queue(self, channel: int, queue: str, acks: bool = False, along: bytes = b"") -> Line:
        """Consume a queue. The bytes `along` follow the broker's answer."""
        self.answers[spec.Basic.Consume] = frame(1, channel, method(spec.Basic.ConsumeOk, "s", queue)) + along
        arguments = {OFFSET: "next"} if acks else {}
        consume(
            self.channel(channel),
            queue,
            lambda *args: self.handled.append(handled(queue, *args)),
            acks,
            arguments=arguments,
        )
        return self

    def channel(self, number: int) -> Any:
        known = self.amqp.channels.get(number)
        return known or Channel(self.amqp, number, auto_decode=False)

    def read(self, *pieces: bytes) -> list[Handled]:
        """Return the deliveries in these pieces."""
        self.sock.pieces += pieces
        before = len(self.handled)
        with contextlib.suppress(TimeoutError):
            while True:
                self.amqp.drain_events()
        return self.handled[before:]


def handled(queue: str, delivery: Delivery, number: int | None = None) -> Handled:
    return Handled(queue, delivery, number)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(which: tuple[int, int], fields: str, *values: Any) -> bytes:
    packed: bytes = dumps(fields, values)
    return struct.pack(">HH", *which) + packed


def frames_of(channel: int, message: Handled, largest: int = 131_072, **properties: Any) -> list[bytes]:
    """Return a delivery's frames, each with at most `largest` bytes of the body."""
    delivery, number = message.delivery, message.number or 1
    where = (message.queue, number, False, delivery.exchange, delivery.routing_key)
    headers = dict(delivery.headers) | ({OFFSET: delivery.offset} if delivery.offset is not None else {})
    properties |= {"application_headers": headers} if headers else {}
    body = delivery.body
    header = struct.pack(">HHQ", 60, 0, len(body)) + Message(**properties)._serialize_properties()
    header = header.replace(OFFSET.encode() + b"L", OFFSET.encode() + b"l")  # signed, as RabbitMQ writes it
    return [
        frame(1, channel, method(spec.Basic.Deliver, "sLbss", *where)),
        frame(2, channel, header),
        *[frame(3, channel, body[first : first + largest]) for first in range(0, len(body), largest)],
    ]


# ---- any deliveries, however they are split

TEXTS = st.text(max_size=20)
# Excluded: a publisher's header of this name is dropped, and hypothesis finds the name in the source.
NAMES = TEXTS.filter(lambda name: name != OFFSET)
HEADERS = st.dictionaries(NAMES, TEXTS | st.integers(-(2**31), 2**31) | st.booleans() | st.none(), max_size=3)
# Small offsets are encoded in 32 bits here, large ones as RabbitMQ does.
OFFSETS = st.none() | st.integers(0, 9) | st.integers(2**40, 2**62)
PROPERTIES = st.fixed_dictionaries(
    {}, optional={"content_type": TEXTS, "content_encoding": TEXTS, "priority": st.integers(0, 9), "message_id": TEXTS}
)
DELIVERIES = st.builds(
    Delivery, exchange=TEXTS, routing_key=TEXTS, headers=HEADERS, body=st.binary(max_size=60), offset=OFFSETS
)
# Two consumers share a channel. A third one, which acknowledges, has another channel.
CONSUMERS = st.sampled_from([(1, "plain"), (1, "other"), (2, "stream")])
MESSAGES = st.lists(st.tuples(CONSUMERS, DELIVERIES, st.integers(1, 2**63), PROPERTIES, st.integers(1, 60)), max_size=8)


def line() -> Line:
    return Line().consume_queue(1, "plain").consume_queue(1, "other").consume_queue(2, "stream", acks=True)


@given(MESSAGES, st.randoms(use_true_random=False), st.booleans(), st.lists(st.integers(0, 3000), max_size=6))
def test_deliveries_are_whole_and_in_order_however_they_are_split(
    messages: list[Any], chance: random.Random, mixed: bool, cuts: list[int]
) -> None:
    # Frames of one channel stay in order. Other channels' frames and heartbeats may come between them.
    waiting: dict[int, list[tuple[bytes, Handled | None]]] = {0: [(HEARTBEAT, None)] * 3, 1: [], 2: []}
    for (channel, queue), delivery, number, properties, largest in messages:
        *first, last = frames_of(channel, Handled(queue, delivery, number), largest, **properties)
        known = delivery if queue == "stream" else msgspec.structs.replace(delivery, offset=None)
        expected = Handled(queue, known, number if queue == "stream" else None)
        waiting[channel] += [*[(one, None) for one in first], (last, expected)]
    data, complete = b"", []
    while ready := [channel for channel in waiting if waiting[channel]]:
        channel = chance.choice(ready)
        # Without mixing, a delivery is completed first.
        while waiting[channel]:
            piece, done = waiting[channel].pop(0)
            data += piece
            complete += [done] if done else []
            if mixed or done or not channel:
                break
    marks = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[first:last] for first, last in itertools.pairwise(marks)]
    opened = line()
    assert opened.read(*pieces) == complete
    assert opened.sent == [spec.Basic.Consume] * 3, "a delivery was rejected"


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, 5 * READ_BYTES])
def test_deliveries_of_any_size_are_read_between_small_ones(size: int) -> None:
    sizes = (10, size, 20)
    messages = [Handled("plain", Delivery("x", "a.b", {}, b"x" * size), None) for size in sizes]
    assert line().read(b"".join(b"".join(frames_of(1, message)) for message in messages)) == messages


def test_headers_may_be_longer_than_one_read() -> None:
    message = Handled("plain", Delivery("x", "a.b", {"large": "x" * 2 * READ_BYTES}, b"body"), None)
    assert line().read(b"".join(frames_of(1, message))) == [message]


SPLIT = pytest.mark.parametrize("largest", [100, 2], ids=["in one frame", "in several frames"])


@pytest.mark.parametrize("offset", [5, 2**62], ids=["a small number", "as RabbitMQ writes it"])
@pytest.mark.parametrize("more", [{}, {"uid": "ID1"}])
@SPLIT
def test_offset_header_of_a_publisher_is_ignored(offset: int, more: dict[str, str], largest: int) -> None:
    message = Handled("plain", Delivery("x", "a.b", more, b"body", offset), None)
    (found,) = line().read(b"".join(frames_of(1, message, largest)))
    assert (found.delivery.offset, found.delivery.headers) == (None, more)


@SPLIT
def test_routing_key_that_is_not_text_is_harmless(largest: int) -> None:
    message = Handled("plain", Delivery("x", "KEY", {}, b"body"), None)
    data = b"".join(frames_of(1, message, largest)).replace(b"KEY", b"\xff\xfeY")
    (found,) = line().read(data)
    assert found.delivery.routing_key == "\ufffd\ufffdY"


@SPLIT
def test_properties_that_are_not_text_are_harmless(largest: int) -> None:
    message = Handled("plain", Delivery("x", "key", {"uid": "ID1"}, b"body"), None)
    data = b"".join(frames_of(1, message, largest, content_type="TYPE", message_id="NAME"))
    (found,) = line().read(data.replace(b"TYPE", b"\xff\xfeYP").replace(b"NAME", b"\xff\xfeME"))
    assert found == message


@SPLIT
def test_header_with_a_time_in_milliseconds_is_harmless(largest: int) -> None:
    sent = {"at": datetime(2026, 1, 1), "uid": "ID1"}  # noqa: DTZ001  # as py-amqp reads them
    message = Handled("plain", Delivery("x", "key", sent, b"body"), None)
    seconds, late = (struct.pack(">Q", number) for number in (1_767_225_600, 1_767_225_600_000))
    data = b"".join(frames_of(1, message, largest))
    assert seconds in data
    (found,) = line().read(data.replace(seconds, late))
    assert (found.delivery.headers, found.delivery.body) == ({"at": late, "uid": "ID1"}, b"body")


@SPLIT
def test_malformed_delivery_is_a_connection_error(largest: int) -> None:
    message = Handled("plain", Delivery("x", "key", {"uid": "ID1"}, b"body"), None)
    opened = line()
    opened.sock.pieces = [b"".join(frames_of(1, message, largest)).replace(b"\x03uidS", b"\xffuidS")]
    with pytest.raises(OSError, match="invalid delivery"):
        opened.amqp.drain_events()


def test_every_read_counts_as_a_sign_of_life() -> None:
    opened = line()
    message = Handled("plain", Delivery("x", "a.b", {}, b"body"), None)
    for piece in (b"".join(frames_of(1, message)), HEARTBEAT, HEARTBEAT[:3]):
        before = opened.amqp.bytes_recv
        opened.read(piece)
        assert opened.amqp.bytes_recv > before


# ---- the recipient of a delivery


def test_delivery_right_after_the_answer_to_consume_is_handled() -> None:
    messages = [Handled("plain", Delivery("x", "a.b", {}, body), None) for body in (b"one", b"two")]
    first, second = (b"".join(frames_of(1, message, largest=2)) for message in messages)
    opened = Line().consume_queue(1, "plain", along=first + second[:-4])
    assert opened.handled == messages[:1]
    assert opened.read(second[-4:]) == messages[1:]
    assert opened.sent == [spec.Basic.Consume], "a delivery was rejected"


def test_delivery_on_an_unexpected_channel_is_passed_to_py_amqp() -> None:
    opened = line()
    assert opened.read(b"".join(frames_of(2, Handled("plain", Delivery("x", "", {}, b"body"), None)))) == []
    assert opened.sent[-1] == spec.Basic.Reject


def test_data_behind_an_awaited_answer_is_read_at_once() -> None:
    """py-amqp reopens a channel that the broker closed while it reads the batch."""
    messages = [Handled("stream", Delivery("x", "", {}, body), 7) for body in (b"one", b"two")]
    opened = line()
    opened.answers[spec.Channel.Open] = frame(1, 1, method(spec.Channel.OpenOk, ""))
    closed = frame(1, 1, method(spec.Channel.Close, "BsBB", 404, "gone", 0, 0))
    first, second = (b"".join(frames_of(2, message)) for message in messages)
    opened.sock.pieces.append(first + closed + second)
    with pytest.raises(AMQPError, match="gone"):
        opened.amqp.drain_events()
    assert opened.handled == messages


def test_in_process_broker_calls_the_same_handler() -> None:
    found: list[tuple[Any, ...]] = []
    with Connection("memory://") as broker:
        for acks in (False, True):
            channel = broker.channel()
            channel.queue_declare("q")
            consume(channel, "q", lambda *args: found.append(args), acks)
            channel.basic_publish(channel.prepare_message("text", headers={"uid": "A"}), "", "q")
            broker.drain_events(timeout=10)
            channel.close()
    (plain,), (acked, number) = found
    assert plain == acked == Delivery("", "q", {"uid": "A"}, b"text")
    assert number


# ---- broken data


@pytest.mark.parametrize("whose", range(3))
def test_frame_without_end_mark_is_a_connection_error(whose: int) -> None:
    message = Handled("plain", Delivery("x", "a.b", {}, b"body"), None)
    frames = frames_of(1, message)
    good = b"".join(frames)
    frames[whose] = frames[whose][:-1] + b"\x00"
    opened = line()
    opened.sock.pieces = [good + b"".join(frames) + HEARTBEAT]
    with pytest.raises(OSError, match="invalid frame"):
        opened.amqp.drain_events()
    assert opened.handled == [message], "the valid delivery before it was lost"


def test_end_of_the_connection_is_an_error() -> None:
    opened = line()
    opened.sock.pieces = [b""]
    with pytest.raises(ConnectionResetError):
        opened.amqp.drain_events()


def test_kill_reaches_a_greenlet_that_waits_for_the_broker() -> None:
    """Missed heartbeats end the reader this way."""

    class Silent(Pieces):
        def recv(self, size: int) -> bytes:
            gevent.sleep(3600)
            raise AssertionError

    opened = line()
    opened.amqp.transport.sock = Silent()
    reader = gevent.spawn(opened.amqp.drain_events)
    gevent.sleep(0)
    gevent.kill(reader, ConnectionError("no heartbeat"))
    reader.join(10)
    assert isinstance(reader.exception, ConnectionError)
