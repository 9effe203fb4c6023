"""One connection: frames over a pair of sockets within the process."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import gevent.socket
import pytest
from geventwebsocket.exceptions import WebSocketError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from websockets.frames import Close as CloseFrame
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from peatio_ws.close_codes import REASONS, Close
from peatio_ws.config.settings import Settings
from peatio_ws.transport.frames import PING, close_frame, text_frame
from peatio_ws.transport.http.handshake import RawSocket
from peatio_ws.transport.inbox import MOST_UNREAD
from peatio_ws.transport.receive import READ_BYTES, Idle, Reader
from peatio_ws.transport.websocket import IDLE_SECONDS, WebSocket
from peatio_ws.transport.websocket_handler import websocket_of
from tests.unit.samples import frames_in, settings

LIMIT = 30
"""Time limit in seconds of a test that waits."""

# ---- a pair of sockets


class Pair:
    """A WebSocket and its client: a plain socket whose frames the test writes and reads."""

    def __init__(self, **environ: str) -> None:
        mine, self.client = gevent.socket.socketpair()
        self.sock = mine
        handler = SimpleNamespace(socket=mine, rfile=mine.makefile("rb"))
        self.stock = SimpleNamespace(handler=handler, closed=False)  # as gevent-websocket passes it
        self.environ: dict[str, Any] = {"wsgi.websocket": self.stock}
        found = websocket_of(self.environ)
        assert found is not None
        self.ws = found
        self.settings: Settings = settings(**environ)
        self._handler = handler

    def open(self) -> WebSocket:
        self.ws.accept(self.settings)
        return self.ws

    def send_frames(self, *frames: Frame) -> None:
        """Send frames from the client, masked."""
        self.client.sendall(b"".join(frame.serialize(mask=True) for frame in frames))

    def end(self) -> None:
        """Half-close the client's side, then end the connection on the server's side."""
        self.client.shutdown(socket.SHUT_WR)
        self.ws.end()

    def received_frames(self) -> list[tuple[int, bytes]]:
        """Return opcode and payload of all frames that the client receives until the end."""
        data = b""
        while more := self.client.recv(65_536):
            data += more
        return frames_in(data)

    def receive_bytes(self, count: int) -> bytes:
        """Return this many bytes that the client receives."""
        data = b""
        while len(data) < count:
            more = self.client.recv(count - len(data))
            assert more, "the connection ended early"
            data += more
        return data

    def close(self) -> None:
        self._handler.rfile.close()
        self.sock.close()
        self.client.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with gevent.Timeout(LIMIT):
        yield made
    made.close()


def text(words: str | bytes, fin: bool = True) -> Frame:
    return Frame(Opcode.TEXT, words.encode() if isinstance(words, str) else words, fin)


def rest(words: bytes, fin: bool) -> Frame:
    return Frame(Opcode.CONT, words, fin)


def closing(code: int, reason: str = "") -> Frame:
    return Frame(Opcode.CLOSE, CloseFrame(code, reason).serialize())


def codes(received: list[tuple[int, bytes]]) -> list[int]:
    """Return the codes of the close frames."""
    return [int.from_bytes(payload[:2]) for opcode, payload in received if opcode == Opcode.CLOSE]


def test_texts_and_bytes_are_received_in_order(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("grüße"), Frame(Opcode.BINARY, b"\xff"), text(""))
    pair.send_frames(closing(1000))
    assert list(ws) == ["grüße", b"\xff", ""]
    assert ws.received == 3


def test_messages_are_sent_as_text_or_binary(pair: Pair) -> None:
    ws = pair.open()
    ws.send("grüße")
    ws.send(b"\xff")
    ws.send("as bytes", binary=True)
    ws.send(b"as text", binary=False)
    ws.close(1000, "bye")
    pair.end()
    assert pair.received_frames() == [
        (1, "grüße".encode()),
        (2, b"\xff"),
        (2, b"as bytes"),
        (1, b"as text"),
        (8, b"\x03\xe8bye"),
    ]


def test_data_sent_along_with_the_handshake_is_read() -> None:
    made = Pair()
    with gevent.Timeout(LIMIT):
        made.send_frames(text("early"))
        assert made.stock.handler.rfile.peek(1)  # read ahead by the HTTP parser
        made.send_frames(text("later"))
        ws = made.open()
        assert [ws.receive(), ws.receive()] == ["early", "later"]
    made.close()


def test_ping_is_answered_with_its_payload_and_is_not_a_message(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(Frame(Opcode.PING, b"are you there"), text("message"))
    assert ws.receive() == "message"
    assert frames_in(pair.receive_bytes(15)) == [(Opcode.PONG, b"are you there")]


def test_control_frame_may_come_between_fragments(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("one ", fin=False), Frame(Opcode.PING, b""), rest(b"message", fin=True))
    assert ws.receive() == "one message"


@hypothesis_settings(max_examples=60)
@given(st.text(max_size=50), st.lists(st.integers(1, 200), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_a_message_in_fragments_and_in_pieces_arrives_whole(words: str, cuts: list[int], pieces: list[int]) -> None:
    data = words.encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parts = [data[start:end] for start, end in itertools.pairwise(places)] or [b""]
    frames = [text(parts[0], fin=len(parts) == 1)]
    frames += [rest(part, fin=number == len(parts) - 1) for number, part in enumerate(parts) if number]
    wire = b"".join(frame.serialize(mask=True) for frame in [*frames, text("next")])
    made = Pair()
    with gevent.Timeout(LIMIT):
        ws = made.open()

        def trickle() -> None:
            left = wire
            for size in itertools.cycle(pieces):
                made.client.sendall(left[:size])
                left = left[size:]
                if not left:
                    return
                gevent.sleep(0)

        gevent.spawn(trickle)
        assert [ws.receive(), ws.receive()] == [words, "next"]
    made.close()


# ---- faults of the client


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (text("unmasked").serialize(mask=False), Close.PROTOCOL_ERROR),
        (b"\xf1\x80\0\0\0\0", Close.PROTOCOL_ERROR),  # reserved bits
        (b"\x83\x80\0\0\0\0", Close.PROTOCOL_ERROR),  # reserved opcode
        (rest(b"of nothing", fin=True).serialize(mask=True), Close.PROTOCOL_ERROR),
        (text("a", fin=False).serialize(mask=True) + text("b").serialize(mask=True), Close.PROTOCOL_ERROR),
        (b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126, Close.PROTOCOL_ERROR),  # a ping that is too long
        (b"\x88\x81\0\0\0\0x", Close.PROTOCOL_ERROR),  # a close with one byte
        (text(b"\xff").serialize(mask=True), Close.INVALID_TEXT),
        (text(b"\xed\xa0\x80").serialize(mask=True), Close.INVALID_TEXT),
        (
            text(b"a\xc3", fin=False).serialize(mask=True) + rest(b"(", fin=True).serialize(mask=True),
            Close.INVALID_TEXT,
        ),
        (text(b"a", fin=False).serialize(mask=True) + rest(b"\xc3", fin=True).serialize(mask=True), Close.INVALID_TEXT),
        (text("x" * 16_385).serialize(mask=True), Close.TOO_BIG),
        (
            text("x" * 9_000, fin=False).serialize(mask=True) + rest(b"x" * 9_000, fin=True).serialize(mask=True),
            Close.TOO_BIG,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Close) else f"{len(value)}-bytes",  # masks are random
)
def test_fault_of_the_client_closes_with_its_code(pair: Pair, what: bytes, code: Close) -> None:
    ws = pair.open()
    pair.client.sendall(text("good").serialize(mask=True) + what + text("never").serialize(mask=True))
    assert list(ws) == ["good"]
    pair.end()
    received = pair.received_frames()
    assert codes(received) == [code]
    assert received[-1][0] == Opcode.CLOSE
    assert ws.closed


def test_message_of_the_maximum_size_is_accepted(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("x" * 16_384))
    assert ws.receive() == "x" * 16_384


# ---- closing


def test_clients_close_is_answered_and_ends_the_messages(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("last"), closing(4999, "bye"))
    assert list(ws) == ["last"]
    pair.end()
    assert codes(pair.received_frames()) == [4999]
    assert ws.ending == (4999, "bye", "client")


def test_lost_client_ends_the_messages(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("last"))
    pair.client.close()
    assert list(ws) == ["last"]
    ws.end()
    assert ws.ending == (1006, "", "nobody")


def test_own_close_is_sent_once_and_waits_for_the_clients_close(pair: Pair) -> None:
    ws = pair.open()
    ws.close(1012, "restart; retry after 3")
    ws.close(1000)
    pair.send_frames(closing(4999, "the client's own"))
    pair.end()
    received = pair.received_frames()
    assert received == [(8, (1012).to_bytes(2) + b"restart; retry after 3")]
    assert ws.ending == (1012, "restart; retry after 3", "gateway")
    with pytest.raises(WebSocketError):
        ws.send("after")


@pytest.mark.parametrize("code", [Close.REVOKED, Close.TOKEN_EXPIRED, Close.POLICY])
def test_messages_after_a_disconnect_are_not_read(pair: Pair, code: Close) -> None:
    ws = pair.open()
    waiting = gevent.spawn(ws.receive)
    gevent.idle()  # waits for the client
    ws.outbox.close(code, cut=True)
    pair.send_frames(text("after the close"))
    assert waiting.get() is None
    assert ws.receive() is None
    assert type(ws.ending.code) is int, "a log in text would show the enum's name"


def test_unread_messages_before_a_disconnect_are_dropped(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("before"))
    ws.tick(ws.opened)  # reads it ahead, as for a busy handler
    assert len(ws.inbox.decoder.messages) == 1
    ws.outbox.close(Close.REVOKED, cut=True)
    assert list(ws) == []


def test_messages_received_before_a_restart_close_are_read(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("one"), text("two"))
    assert ws.receive() == "one"
    ws.outbox.close(Close.RESTART)
    assert list(ws) == ["two"]


def test_reserved_close_code_raises_value_error(pair: Pair) -> None:
    ws = pair.open()
    with pytest.raises(ValueError, match="1006"):
        ws.close(1006)
    assert not ws.closed


def test_client_of_another_library_accepts_the_connection(pair: Pair) -> None:
    """The whole connection as seen by `websockets`' own sans-IO client."""
    ws, client = pair.open(), Protocol(CLIENT)
    client.send_text(json.dumps({"jwt": "Bearer x"}).encode())
    client.send_ping(b"1")
    pair.client.sendall(b"".join(client.data_to_send()))
    assert ws.receive() == '{"jwt": "Bearer x"}'
    ws.send('{"success":{}}')
    client.send_close(1000, "bye")
    pair.client.sendall(b"".join(client.data_to_send()))
    assert ws.receive() is None
    pair.end()
    while data := pair.client.recv(65_536):
        client.receive_data(data)
    client.receive_eof()
    frames = [frame for frame in client.events_received() if isinstance(frame, Frame)]
    assert [frame.opcode for frame in frames] == [Opcode.TEXT, Opcode.PONG, Opcode.CLOSE]
    assert (client.close_code, client.close_reason) == (1000, "bye")


# ---- keepalive, by the given time


def test_pings_are_sent_at_the_interval(pair: Pair) -> None:
    ws = pair.open()
    ws.tick(ws.opened + 25)
    ws.tick(ws.opened + 25.5)
    ws.inbox.last_read += 26
    ws.tick(ws.opened + 26)
    ws.tick(ws.opened + 51)
    ws.close(1000)
    pair.end()
    assert [opcode for opcode, _ in pair.received_frames()] == [Opcode.PING, Opcode.PING, Opcode.CLOSE]
    assert PING == b"\x89\x00"


def test_connection_without_a_sign_of_life_is_ended(pair: Pair) -> None:
    ws = pair.open()
    ws.tick(ws.inbox.last_read + 50)
    ws.tick(ws.inbox.last_read + 60)
    assert not ws.closed
    ws.tick(ws.inbox.last_read + 60.5)
    assert ws.outbox.closing == Close.IDLE


def test_client_is_pinged_before_it_is_closed_even_if_the_ping_is_late(pair: Pair) -> None:
    """A worker that stood still for a while has sent no ping, so a quiet client had nothing to answer."""
    ws = pair.open()
    ws.tick(ws.opened + 26)
    ws.inbox.last_read = ws.opened + 26.1
    for late in (90.0, 91.0, 94.9):
        ws.tick(ws.opened + late)
        assert not ws.closed
    assert pair.client.recv(100) == 2 * PING
    ws.tick(ws.opened + 95.1)
    assert ws.outbox.closing == Close.IDLE


def test_client_that_reads_its_outbox_is_alive(pair: Pair) -> None:
    ws = pair.open()
    began = ws.inbox.last_read
    ws.pinged = began + 150
    ws.outbox.size, ws.outbox.sent = 1000, 1
    ws.tick(began + 50)
    ws.outbox.sent = 2
    ws.tick(began + 100)
    assert not ws.closed
    ws.tick(began + 160)
    assert not ws.closed
    ws.tick(began + 161)
    assert ws.outbox.closing == Close.IDLE, "waiting frames were not read"


def test_a_client_that_does_not_answer_a_close_is_cut(pair: Pair) -> None:
    ws = pair.open()
    ws.close(1000)
    ws.tick(ws.outbox.deadline)
    ws.tick(ws.outbox.deadline + 1)
    assert codes(pair.received_frames()) == [1000]  # and then the end of the stream
    assert ws.receive() is None


# ---- while the handler is busy


def test_message_that_ends_an_idle_time_is_left_to_the_next_greenlet(pair: Pair) -> None:
    sock, received = pair.sock, list[str | bytes | None]()
    ws = WebSocket(lambda _: RawSocket(sock, b"", b"", may_move=True), pair.settings)
    ws.accept()

    def run() -> None:
        try:
            received.append(ws.receive())
        except Idle:
            ws.wait_idle()

    ws.serve(run, handles_idle=True)
    gevent.idle()  # waits for the client
    ws.tick(ws.inbox.last_read + IDLE_SECONDS + 1)
    while ws.inbox.reader._greenlet is not None:
        gevent.sleep(0.001)
    pair.send_frames(text("here again"))
    ws.tick(ws.inbox.last_read)  # reads nothing, as it does for a busy handler
    while not received:
        gevent.sleep(0.001)
    assert received == ["here again"]


def test_greenlet_is_not_released_during_the_closing_handshake(pair: Pair) -> None:
    sock = pair.sock
    ws = WebSocket(lambda _: RawSocket(sock, b"", b"", may_move=True), pair.settings)
    ws.accept()

    def run() -> None:
        ws.receive()
        ws.close(Close.POLICY)
        ws.end()

    ws.serve(run, handles_idle=True)
    pair.send_frames(text("the last message"))
    while not (ws.closed and ws.inbox.reader._waits):
        gevent.sleep(0.001)
    gevent.get_hub().loop.run_callback(ws.inbox.reader.raise_idle)  # as if it was idle before the message
    gevent.idle()
    assert not sock.closed
    pair.send_frames(closing(1008))
    pair.client.shutdown(socket.SHUT_WR)
    assert codes(pair.received_frames()) == [1008]
    while not sock.closed:
        gevent.sleep(0.001)


def test_receive_with_a_timeout_loses_no_message(pair: Pair) -> None:
    ws = pair.open()
    whole = text("in two pieces").serialize(mask=True)
    pair.client.sendall(whole[:7])
    for limit in (0.01, 0, -1):
        with pytest.raises(TimeoutError, match="no message within"):
            ws.receive(timeout=limit)
    with pytest.raises(LookupError), gevent.Timeout(0.01, LookupError):
        ws.receive()
    with (
        pytest.raises(TimeoutError, match="the handler's own"),
        gevent.Timeout(0.01, TimeoutError("the handler's own")),
    ):
        ws.receive()
    pair.client.sendall(whole[7:])
    assert ws.receive(timeout=LIMIT) == "in two pieces"
    pair.client.close()
    assert ws.receive(timeout=LIMIT) is None


def test_pings_are_answered_while_the_handler_is_busy(pair: Pair) -> None:
    ws = pair.open()
    ws.tick(ws.opened)
    pair.send_frames(Frame(Opcode.PING, b"1"), text("a"), Frame(Opcode.PING, b"2"), Frame(Opcode.PONG, b""))
    ws.inbox.last_read = 0.0
    ws.tick(ws.opened + 1)
    assert ws.inbox.last_read >= ws.opened, "pongs did not count as a sign of life"
    assert not ws.closed
    assert frames_in(pair.receive_bytes(6)) == [(Opcode.PONG, b"1"), (Opcode.PONG, b"2")]
    ws.send("answer")
    assert ws.receive() == "a"
    pair.end()
    assert pair.received_frames()[0] == (Opcode.TEXT, b"answer")


@pytest.mark.parametrize("nothing_yet", [BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError])
def test_connection_stays_open_if_a_busy_handlers_client_has_sent_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, nothing_yet: type[OSError]
) -> None:
    ws = pair.open()

    def receive_now(_: Reader) -> bytes:
        raise nothing_yet

    monkeypatch.setattr(Reader, "receive_now", receive_now)
    ws.tick(ws.opened)
    monkeypatch.undo()
    pair.send_frames(text("later"))
    assert ws.receive() == "later"


def test_ping_in_the_same_read_as_a_slow_message_is_answered(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("a"), Frame(Opcode.PING, b"1"))
    assert ws.receive() == "a"
    ws.tick(ws.opened)
    assert frames_in(pair.receive_bytes(3)) == [(Opcode.PONG, b"1")]


def test_close_is_noticed_and_answered_while_the_handler_is_busy(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(closing(4999, "bye"))
    ws.tick(ws.opened)
    assert ws.closed
    with pytest.raises(WebSocketError):
        ws.send("too late")
    assert codes(pair.received_frames()) == [4999]


def test_close_is_not_answered_before_earlier_messages(pair: Pair) -> None:
    ws = pair.open()
    pair.send_frames(text("question"), closing(1000))
    ws.tick(ws.opened)
    assert not ws.closed
    assert ws.receive() == "question"
    ws.send("answer")
    assert ws.receive() is None
    pair.end()
    assert [payload for _, payload in pair.received_frames()] == [b"answer", (1000).to_bytes(2)]


def test_lost_client_is_noticed_while_the_handler_is_busy(pair: Pair) -> None:
    ws = pair.open()
    pair.client.close()
    ws.tick(ws.opened)
    assert ws.closed
    assert ws.receive() is None
    assert ws.ending.code == 1006


@pytest.mark.parametrize(
    "first",
    [
        pytest.param([closing(1000)], id="closes"),
        pytest.param([Frame(Opcode.CONT, b"of nothing")], id="makes a fault"),
        pytest.param([text("too late")] * MOST_UNREAD, id="sends on after the server's close"),
    ],
)
def test_flood_after_the_end_is_dropped_unparsed(pair: Pair, first: list[Frame]) -> None:
    ws = pair.open()
    fed: list[int] = []
    parse = ws.inbox.decoder.receive
    ws.inbox.decoder.receive = lambda data: (fed.append(len(data)), parse(data))[1]  # type: ignore[method-assign]
    if len(first) > 1:
        ws.close(Close.POLICY, "too many messages")
    ending = gevent.spawn(ws.end)
    pair.send_frames(*first)
    head = sum(len(frame.serialize(mask=True)) for frame in first)
    flood = text("flood").serialize(mask=True) * 20_000
    sending = gevent.spawn(pair.client.sendall, flood)
    sending.join()
    assert pair.received_frames()[-1][0] == Opcode.CLOSE, "a client that keeps sending did not receive the close frame"
    pair.client.shutdown(socket.SHUT_WR)
    ending.join()
    assert sum(fed) <= head + 2 * READ_BYTES


def test_few_messages_are_read_ahead(pair: Pair) -> None:
    ws = pair.open()
    for number in range(3 * MOST_UNREAD):
        pair.send_frames(text(str(number)))
        ws.tick(ws.opened)
    assert len(ws.inbox.decoder.messages) == MOST_UNREAD
    pair.client.shutdown(socket.SHUT_WR)
    assert list(ws) == [str(number) for number in range(3 * MOST_UNREAD)]


def test_client_with_unread_messages_is_alive_while_it_sends(pair: Pair) -> None:
    ws = pair.open()
    for _ in range(MOST_UNREAD):
        pair.send_frames(text("are you there?"))
        ws.tick(ws.opened)
    for _ in range(3):
        ws.inbox.last_read = 0.0
        pair.send_frames(Frame(Opcode.PONG, b""))
        ws.tick(ws.opened)
        assert ws.inbox.last_read >= ws.opened
    ws.inbox.last_read, ws.pinged = ws.opened - 100, ws.opened - 10
    ws.tick(ws.opened)
    assert ws.outbox.closing == Close.IDLE


def test_handler_that_waits_for_a_message_is_not_interrupted(pair: Pair) -> None:
    ws = pair.open()
    waiting = gevent.spawn(ws.receive)
    gevent.sleep(0)
    pair.send_frames(text("for the one that waits"))
    ws.tick(ws.opened)
    assert not ws.inbox.decoder.messages
    assert waiting.get(timeout=LIMIT) == "for the one that waits"


def test_handler_that_yields_between_reads_is_not_interrupted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peatio_ws.concurrency.yielding.TURN_SECONDS", -1.0)
    ws = pair.open()
    pair.send_frames(text("question"), Frame(Opcode.PING, b"later"), text("x" * READ_BYTES))

    def handle() -> str | bytes | None:
        assert ws.receive() == "question"
        ws.send("answer")
        return ws.receive()

    handler = gevent.spawn(handle)
    gevent.sleep(0)
    ws.tick(ws.opened)
    assert not handler.dead
    assert not ws.inbox.decoder.messages, "another greenlet read the message"
    assert handler.get(timeout=LIMIT) == "x" * READ_BYTES
    assert frames_in(pair.receive_bytes(8 + 7)) == [(Opcode.TEXT, b"answer"), (Opcode.PONG, b"later")]


@pytest.mark.parametrize("taken", [True, False])
def test_handshake_answer_is_not_cut_like_a_frame(pair: Pair, taken: bool) -> None:
    answer, big = b"HTTP/1.1 101 Switching Protocols\r\n\r\n", text_frame(b"x" * 900_000)
    ws = WebSocket(lambda _: RawSocket(pair.sock, b"", answer, True), pair.settings)
    ws.accept()
    ws.outbox.put(big)
    if taken:
        ws.outbox.flush()
    ws.outbox.close(Close.TOO_SLOW, cut=True)
    due = answer + (big if taken else b"") + close_frame(Close.TOO_SLOW, REASONS[Close.TOO_SLOW])
    assert pair.receive_bytes(len(due)) == due
