"""`FrameDecoder`: from a client's bytes to messages and answers, without a socket."""

from __future__ import annotations

import tracemalloc

import pytest

from peatio_ws.transport.decoder import (
    SMALL_A_SECOND,
    SMALL_AT_ONCE,
    SMALL_BYTES,
    SMALL_FRAGMENT,
    FrameDecoder,
    unwatch,
    watch,
)
from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame, text

LIMIT = 1000


def fed(*data: bytes) -> FrameDecoder:
    incoming = FrameDecoder(LIMIT)
    for piece in data:
        incoming.receive(piece)
    return incoming


def from_server(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, payload, mask=False)


def close_code(incoming: FrameDecoder) -> int | None:
    """Return the code of the close frame to be sent."""
    for chunk in incoming.data_to_send():
        if chunk[:1] == bytes([0x80 | CLOSE]):
            return int.from_bytes(chunk[2:4], "big")
    return None


def test_messages_are_whole_however_the_bytes_are_split() -> None:
    sent = (
        text("grüße")
        + frame(TEXT, "ä".encode()[:1], fin=False)
        + frame(CONT, "ä".encode()[1:])
        + frame(BINARY, b"\xff")
    )
    for size in (1, 2, 7, len(sent)):
        incoming = fed(*[sent[at : at + size] for at in range(0, len(sent), size)])
        assert [message for _, message in incoming.messages] == ["grüße", "ä", b"\xff"]


def test_messages_come_after_answers_to_earlier_frames() -> None:
    incoming = fed(frame(PING, b"1"), text("a"), text("b"), frame(PING, b"2") + text("c") + frame(PING, b"3"))
    assert incoming.messages == [
        ([from_server(PONG, b"1")], "a"),
        ([], "b"),
        ([from_server(PONG, b"2")], "c"),
    ]
    assert incoming.data_to_send() == [from_server(PONG, b"3")]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_last_message_is_not_kept_in_memory(opcode: int) -> None:
    incoming, sent = FrameDecoder(1_000_000), frame(opcode, b"x" * 1_000_000)
    tracemalloc.start()
    try:
        incoming.receive(sent)
        incoming.messages.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_tiny_fragments_take_no_more_memory_than_the_message(opcode: int) -> None:
    incoming = FrameDecoder(100_000)
    pieces = b"".join(frame(CONT, b"%02d" % (number % 100), fin=False) for number in range(10_000))
    incoming.small_frames.tokens = 15_000.0
    incoming.receive(frame(opcode, b"", fin=False))
    tracemalloc.start()
    try:
        for at in range(0, len(pieces), 4096):
            incoming.receive(pieces[at : at + 4096])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * 20_000
    incoming.receive(frame(CONT))
    ((_, message),) = incoming.messages
    assert len(message) == 20_000


@pytest.mark.parametrize(
    "small",
    [frame(PING), frame(PONG), frame(PONG, b"x" * 125), frame(CONT, b"", fin=False), frame(CONT, b"x", fin=False)],
    ids=["ping", "pong", "long pong", "empty fragment", "fragment"],
)
def test_too_many_small_frames_close_with_1008(small: bytes) -> None:
    incoming = FrameDecoder(16_384)
    incoming.receive(frame(TEXT, b"x" * SMALL_BYTES, fin=False))
    incoming.small_frames.refill(100.0)
    incoming.receive(small * SMALL_AT_ONCE)
    assert close_code(incoming) is None
    incoming.small_frames.refill(101.0)
    incoming.receive(small * SMALL_A_SECOND)
    assert close_code(incoming) is None
    incoming.receive(small * 5)
    assert close_code(incoming) == 1008


@pytest.mark.parametrize("compressed", [False, True])
def test_small_fragments_of_a_message_of_the_limit_are_allowed(compressed: bool) -> None:
    """Autobahn's suite splits messages of 4 MiB like this (9.3.1). Clients may do so if long messages are allowed."""
    incoming = FrameDecoder(2**22, compressed)
    incoming.receive(frame(TEXT, b"x" * SMALL_FRAGMENT, fin=False))
    incoming.receive(frame(CONT, b"x" * SMALL_FRAGMENT, fin=False) * (2**22 // SMALL_FRAGMENT - 2))
    incoming.receive(frame(CONT, b"x" * SMALL_FRAGMENT))
    assert close_code(incoming) is None
    ((_, message),) = incoming.messages
    assert len(message) == 2**22
    incoming.receive(frame(PONG) * 10)
    assert close_code(incoming) == 1008


def test_only_small_fragments_and_control_frames_are_limited() -> None:
    incoming = FrameDecoder(10**7)
    incoming.receive(frame(PONG) * SMALL_AT_ONCE)
    incoming.receive(text("x") * 1000 + frame(TEXT, b"x" * SMALL_BYTES, fin=False))
    incoming.receive(frame(CONT, b"x" * SMALL_BYTES, fin=False) * 1000)
    assert len(incoming.messages) == 1000
    assert close_code(incoming) is None
    incoming.receive(close(1000))
    assert close_code(incoming) == 1000


def test_after_too_many_small_frames_nothing_is_read() -> None:
    incoming = fed(text("a"), frame(PONG) * (SMALL_AT_ONCE + 1) + text("b") + frame(PING) * 3)
    assert [message for _, message in incoming.messages] == ["a"]
    assert close_code(incoming) == 1008


def test_messages_before_a_fault_are_returned() -> None:
    incoming = fed(text("a") + frame(TEXT, b"x", mask=False))
    assert incoming.messages == [([], "a")]
    assert close_code(incoming) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_close_between_two_fragments_is_echoed(opcode: int) -> None:
    incoming = fed(frame(opcode, b"half", fin=False) + close(1001))
    assert close_code(incoming) == 1001
    assert incoming.messages == []


def test_invalid_utf8_takes_precedence_over_a_later_close() -> None:
    assert close_code(fed(frame(TEXT, b"\xff") + close(1000))) == 1007


def test_invalid_utf8_is_found_at_the_first_wrong_fragment() -> None:
    assert close_code(fed(frame(TEXT, b"\xc3", fin=False))) is None
    assert close_code(fed(frame(TEXT, b"\xc3", fin=False), frame(CONT, b"x", fin=False))) == 1007
    assert close_code(fed(frame(TEXT, b"\xc3", fin=False), frame(CONT, b""))) == 1007


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x" * LIMIT), None),
        (frame(TEXT, length=LIMIT + 1)[:4], 1009),
        (frame(TEXT, b"x" * 600, fin=False) + frame(CONT, length=401)[:4], 1009),
        (frame(TEXT, b"x" * 600, fin=False) + frame(CONT, b"x" * 400), None),
    ],
)
def test_size_limit_is_checked_at_the_header(sent: bytes, code: int | None) -> None:
    assert close_code(fed(sent)) == code


def test_message_after_a_fragmented_one_starts_fresh() -> None:
    incoming = fed(frame(TEXT, b"a", fin=False), frame(CONT, b"b"), frame(BINARY, b"c", fin=False), frame(CONT, b"d"))
    assert [message for _, message in incoming.messages] == ["ab", b"cd"]


def test_end_of_the_stream_has_no_answer() -> None:
    incoming = fed(text("a"), b"")
    assert [message for _, message in incoming.messages] == ["a"]
    assert incoming.data_to_send() == [b""]


def test_watcher_sees_messages_and_control_frames_as_they_come() -> None:
    incoming, seen = FrameDecoder(LIMIT), list[tuple[int, str | bytes]]()
    incoming.receive(text("before"))
    watch(incoming, lambda opcode, message: seen.append((opcode, message)))
    pieces = frame(TEXT, b"in ", fin=False) + frame(PING, b"1") + frame(CONT, b"parts")
    incoming.receive(pieces + frame(PONG, b"") + frame(BINARY, b"\xff"))
    unwatch(incoming)
    unwatch(incoming)
    incoming.receive(text("after") + frame(PING, b"2"))
    assert seen == [(PING, b""), (TEXT, "in parts"), (PONG, b""), (BINARY, b"\xff")]
    assert [message for _, message in incoming.messages] == ["before", "in parts", b"\xff", "after"]
    assert type(incoming) is FrameDecoder
