"""Deliveries in the broker's bytes, however frames and reads split them, against messages made here."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
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

from peatio_ws.amqp.frame_reader import OFFSET, READ_BYTES, BufferedConnection, _BufferedTCP, consume
from peatio_ws.protocol.exchanges import Delivery

HEARTBEAT = struct.pack(">BHIB", 8, 0, 0, 0xCE)


class Handled(NamedTuple):
    """What a handler was called with."""

    queue: str
    delivery: Delivery
    number: int | None


class Pieces:
    """Stands where the socket would: each read brings one piece, at most; then it times out."""

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
    """A connection to a broker that says what the test wants, as if its handshake were over.

    Attributes:
        sent: the methods that went to the broker.
        answers: what it answers to a method, and whatever comes along with that.
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
        """Consume a queue; `along` comes with the broker's answer."""
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
        """Everything that comes of these pieces."""
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
    """A delivery's frames; none has more of the body than `largest`."""
    delivery, number = message.delivery, message.number or 1
    where = (message.queue, number, False, delivery.exchange, delivery.routing_key)
    headers = dict(delivery.headers) | ({OFFSET: delivery.offset} if delivery.offset is not None else {})
    properties |= {"application_headers": headers} if headers else {}
    body = delivery.body
    header = struct.pack(">HHQ", 60, 0, len(body)) + Message(**properties)._serialize_properties()
    return [
        frame(1, channel, method(spec.Basic.Deliver, "sLbss", *where)),
        frame(2, channel, header),
        *[frame(3, channel, body[first : first + largest]) for first in range(0, len(body), largest)],
    ]


# ---- whatever comes, however it comes

TEXTS = st.text(max_size=20)
# A publisher's header of this name is dropped; hypothesis finds the name in the source.
NAMES = TEXTS.filter(lambda name: name != OFFSET)
HEADERS = st.dictionaries(NAMES, TEXTS | st.integers(-(2**31), 2**31) | st.booleans() | st.none(), max_size=3)
# A small one is written as 32 bits here, a large one as RabbitMQ does.
OFFSETS = st.none() | st.integers(0, 9) | st.integers(2**40, 2**62)
PROPERTIES = st.fixed_dictionaries(
    {}, optional={"content_type": TEXTS, "content_encoding": TEXTS, "priority": st.integers(0, 9), "message_id": TEXTS}
)
DELIVERIES = st.builds(
    Delivery, exchange=TEXTS, routing_key=TEXTS, headers=HEADERS, body=st.binary(max_size=60), offset=OFFSETS
)
# Two consumers on one channel, one on another, which acknowledges.
CONSUMERS = st.sampled_from([(1, "plain"), (1, "other"), (2, "stream")])
MESSAGES = st.lists(st.tuples(CONSUMERS, DELIVERIES, st.integers(1, 2**63), PROPERTIES, st.integers(1, 60)), max_size=8)


def line() -> Line:
    return Line().consume_queue(1, "plain").consume_queue(1, "other").consume_queue(2, "stream", acks=True)


@given(MESSAGES, st.randoms(use_true_random=False), st.booleans(), st.lists(st.integers(0, 3000), max_size=6))
def test_deliveries_arrive_whole_and_in_order_however_their_frames_lie(
    messages: list[Any], chance: random.Random, mixed: bool, cuts: list[int]
) -> None:
    # Frames of one channel keep their order; those of others, and heartbeats, may come between them.
    waiting: dict[int, list[tuple[bytes, Handled | None]]] = {0: [(HEARTBEAT, None)] * 3, 1: [], 2: []}
    for (channel, queue), delivery, number, properties, largest in messages:
        *first, last = frames_of(channel, Handled(queue, delivery, number), largest, **properties)
        known = delivery if queue == "stream" else msgspec.structs.replace(delivery, offset=None)
        expected = Handled(queue, known, number if queue == "stream" else None)
        waiting[channel] += [*[(one, None) for one in first], (last, expected)]
    data, complete = b"", []
    while ready := [channel for channel in waiting if waiting[channel]]:
        channel = chance.choice(ready)
        # Not mixed: until a delivery is whole.
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
    assert opened.sent == [spec.Basic.Consume] * 3, "nothing is refused"


@pytest.mark.parametrize("size", [0, 1, READ_BYTES - 1, READ_BYTES, 5 * READ_BYTES])
def test_deliveries_of_any_size_go_together_with_small_ones(size: int) -> None:
    sizes = (10, size, 20)
    messages = [Handled("plain", Delivery("x", "a.b", {}, b"x" * size), None) for size in sizes]
    assert line().read(b"".join(b"".join(frames_of(1, message)) for message in messages)) == messages


def test_headers_that_do_not_fit_into_one_read_are_read() -> None:
    message = Handled("plain", Delivery("x", "a.b", {"large": "x" * 2 * READ_BYTES}, b"body"), None)
    assert line().read(b"".join(frames_of(1, message))) == [message]


@pytest.mark.parametrize("offset", [5, 2**62], ids=["a small number", "as RabbitMQ writes it"])
@pytest.mark.parametrize("more", [{}, {"uid": "ID1"}])
@pytest.mark.parametrize("largest", [100, 2], ids=["in one frame", "in several frames"])
def test_an_offset_that_a_publisher_wrote_is_not_believed(offset: int, more: dict[str, str], largest: int) -> None:
    message = Handled("plain", Delivery("x", "a.b", more, b"body", offset), None)
    (found,) = line().read(b"".join(frames_of(1, message, largest)))
    assert (found.delivery.offset, found.delivery.headers) == (None, more)


def test_routing_key_that_is_not_text_is_harmless() -> None:
    message = Handled("plain", Delivery("x", "KEY", {}, b"body"), None)
    data = b"".join(frames_of(1, message)).replace(b"KEY", b"\xff\xfeY")
    (found,) = line().read(data)
    assert found.delivery.routing_key == "\ufffd\ufffdY"


def test_every_read_shows_that_the_broker_is_alive() -> None:
    opened = line()
    message = Handled("plain", Delivery("x", "a.b", {}, b"body"), None)
    for piece in (b"".join(frames_of(1, message)), HEARTBEAT, HEARTBEAT[:3]):
        before = opened.amqp.bytes_recv
        opened.read(piece)
        assert opened.amqp.bytes_recv > before


# ---- the recipient of a delivery


def test_a_delivery_that_comes_with_the_answer_to_consume_is_handled() -> None:
    messages = [Handled("plain", Delivery("x", "a.b", {}, body), None) for body in (b"one", b"two")]
    first, second = (b"".join(frames_of(1, message, largest=2)) for message in messages)
    opened = Line().consume_queue(1, "plain", along=first + second[:-4])
    assert opened.handled == messages[:1]
    assert opened.read(second[-4:]) == messages[1:]
    assert opened.sent == [spec.Basic.Consume], "nothing is refused"


def test_delivery_on_an_unexpected_channel_is_left_to_py_amqp() -> None:
    opened = line()
    assert opened.read(b"".join(frames_of(2, Handled("plain", Delivery("x", "", {}, b"body"), None)))) == []
    assert opened.sent[-1] == spec.Basic.Reject


def test_data_after_an_awaited_answer_in_a_batch_is_not_awaited() -> None:
    """A channel that the broker closed is opened again by py-amqp, from within the reading."""
    messages = [Handled("stream", Delivery("x", "", {}, body), 7) for body in (b"one", b"two")]
    opened = line()
    opened.answers[spec.Channel.Open] = frame(1, 1, method(spec.Channel.OpenOk, ""))
    closed = frame(1, 1, method(spec.Channel.Close, "BsBB", 404, "gone", 0, 0))
    first, second = (b"".join(frames_of(2, message)) for message in messages)
    opened.sock.pieces.append(first + closed + second)
    with pytest.raises(AMQPError, match="gone"):
        opened.amqp.drain_events()
    assert opened.handled == messages


def test_another_broker_than_rabbitmq_calls_the_same_function() -> None:
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


# ---- a broken stream


@pytest.mark.parametrize("whose", range(3))
def test_a_frame_without_its_end_is_an_error_of_the_connection(whose: int) -> None:
    message = Handled("plain", Delivery("x", "a.b", {}, b"body"), None)
    frames = frames_of(1, message)
    good = b"".join(frames)
    frames[whose] = frames[whose][:-1] + b"\x00"
    opened = line()
    opened.sock.pieces = [good + b"".join(frames) + HEARTBEAT]
    with pytest.raises(OSError, match="invalid frame"):
        opened.amqp.drain_events()
    assert opened.handled == [message], "what came before was good"


def test_the_end_of_the_connection_is_an_error() -> None:
    opened = line()
    opened.sock.pieces = [b""]
    with pytest.raises(ConnectionResetError):
        opened.amqp.drain_events()


def test_kill_reaches_a_greenlet_that_waits_for_the_broker() -> None:
    """As when heartbeats are missed."""

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
