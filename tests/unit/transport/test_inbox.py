"""A client's bytes become messages, a slice at a time, whether the handler waits for them or not."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from peatio_ws.transport.decoder import FrameDecoder
from peatio_ws.transport.inbox import MOST_UNREAD, SLICE_BYTES, Inbox
from tests.unit.samples import frames_in


class Client:
    """A reader's socket: what it has sent, and in which pieces.

    Attributes:
        pieces: bytes, or the exception of a read; without any, the client has sent nothing so far.
        waits: whether `Inbox.waits` was set, for each read that may wait.
    """

    def __init__(self) -> None:
        self.pieces: list[bytes | Exception] = []
        self.inbox = Inbox(self, FrameDecoder(100_000), b"")  # type: ignore[arg-type]
        self.inbox.last_read = 0.0
        self.waits: list[bool] = []
        self.kernel = 0

    def send(self, *frames: Frame) -> None:
        self.pieces.append(b"".join(frame.serialize(mask=True) for frame in frames))

    def receive(self) -> bytes:
        self.waits.append(self.inbox.waits)
        return self.receive_now()

    def receive_now(self) -> bytes:
        found = self.pieces.pop(0) if self.pieces else BlockingIOError()
        if isinstance(found, Exception):
            raise found
        return found

    def unread(self) -> int:
        return self.kernel

    def discard(self) -> None:
        self.pieces.clear()

    def messages(self) -> list[str | bytes]:
        return [message for _, message in self.inbox.decoder.messages]


def text(words: str) -> Frame:
    return Frame(Opcode.TEXT, words.encode())


PING = Frame(Opcode.PING, b"1")
CLOSE = Frame(Opcode.CLOSE, (1000).to_bytes(2))


@pytest.fixture
def client() -> Client:
    return Client()


def answers(chunks: list[bytes]) -> list[int]:
    """Return the opcodes of answers to a client."""
    return [opcode for opcode, _ in frames_in(b"".join(chunks))]


def test_reading_parses_a_slice_at_a_time(client: Client) -> None:
    words = [f"{number:0>94}" for number in range(20)]  # a frame is 100 bytes
    client.send(*map(text, words))
    client.inbox.read()
    assert client.messages() == words[: SLICE_BYTES // 100]
    while client.messages() != words:
        client.inbox.read()
    assert client.waits == [True], "the socket was read again before all its bytes were parsed"
    assert not client.inbox.waits


def test_bytes_sent_along_with_the_request_come_first() -> None:
    inbox = Inbox(Client(), FrameDecoder(100), text("early").serialize(mask=True))  # type: ignore[arg-type]
    inbox.read()
    assert [message for _, message in inbox.decoder.messages] == ["early"]


def test_every_byte_is_counted_and_a_sign_of_life(client: Client) -> None:
    client.send(text("abc"))
    client.inbox.read()
    assert client.inbox.received_bytes == 9
    assert client.inbox.last_read > 0
    client.inbox.last_read = 0.0
    client.inbox.on_bytes(b"")
    assert (client.inbox.received_bytes, client.inbox.last_read) == (9, 0.0), "the end is no sign of life"


def test_reading_refills_the_bucket_of_small_frames(client: Client) -> None:
    client.inbox.decoder.small_frames.tokens = 1
    client.send(text("abc"))
    client.inbox.read()
    assert client.inbox.decoder.small_frames.tokens > 1


def test_discarding_drops_what_was_read_ahead(client: Client) -> None:
    client.send(*[text("x" * (SLICE_BYTES - 8))] * 2)  # a frame is a slice
    client.inbox.read()
    client.inbox.decoder.messages.clear()
    client.inbox.discard()
    client.send(text("later"))
    client.inbox.read()
    assert client.messages() == ["later"]


def test_lost_connection_is_the_end_of_the_client(client: Client) -> None:
    client.pieces = [ConnectionResetError(104, "reset")]
    client.inbox.read()
    assert client.inbox.decoder.eof_sent
    client.pieces = [b"too late"]
    client.inbox.on_bytes(b"too late")
    assert client.inbox.received_bytes == 0


def test_time_limit_of_the_caller_is_raised_and_loses_nothing(client: Client) -> None:
    client.pieces = [TimeoutError("the handler's own")]
    with pytest.raises(TimeoutError, match="own"):
        client.inbox.read()
    assert not client.inbox.waits
    client.send(text("later"))
    client.inbox.read()
    assert client.messages() == ["later"]


def test_polling_returns_the_answers_in_order_once(client: Client) -> None:
    client.send(PING, text("a"), PING)
    assert answers(client.inbox.poll()) == [Opcode.PONG, Opcode.PONG]
    assert client.inbox.decoder.messages == [([], "a")]
    assert client.inbox.poll() == []


def test_polling_does_not_answer_a_close_before_earlier_messages(client: Client) -> None:
    client.send(text("question"), CLOSE)
    assert client.inbox.poll() == []
    assert client.messages() == ["question"]
    client.inbox.decoder.messages.clear()
    assert answers(client.inbox.decoder.data_to_send())[:1] == [Opcode.CLOSE]


def test_polling_reads_few_messages_ahead(client: Client) -> None:
    for number in range(2 * MOST_UNREAD):
        client.send(text(str(number)))
        client.inbox.poll()
    assert len(client.messages()) == MOST_UNREAD
    assert len(client.pieces) == MOST_UNREAD


def test_client_that_fills_the_kernel_meanwhile_is_alive(client: Client) -> None:
    client.send(*[text("a")] * MOST_UNREAD)
    client.inbox.poll()
    seen: list[Any] = []
    for client.kernel in (10, 10, 20):
        client.inbox.last_read = 0.0
        client.inbox.poll()
        seen.append(client.inbox.last_read > 0)
    assert seen == [True, False, True]
