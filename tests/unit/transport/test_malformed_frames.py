"""Malformed frames of Autobahn's suite (sections 2 to 7 and 9): each closes the connection with the right code.

Messages before them are received, and nothing after them is read, however the bytes are split. The inputs are facts;
the words here are our own.
"""

from __future__ import annotations

import pytest

from peatio_ws.close_codes import Close
from peatio_ws.transport.decoder import FrameDecoder
from peatio_ws.transport.frames import close_frame, frame_end, text_frame
from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame, text

LIMIT = 1_000
BEFORE, BEHIND = text("before"), text("behind")
STARTED = frame(TEXT, b"a", fin=False)


def header(first: int, second: int, *more: int) -> bytes:
    return bytes([first, second, *more])


PROTOCOL = {
    # 2, 7.3: control frames have 125 bytes at most
    "a ping of 126 bytes": frame(PING, b"\xfe" * 126),
    "a pong of 126 bytes": frame(PONG, b"\xfe" * 126),
    "a close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"*" * 124),
    # 3: reserved bits
    **{
        f"reserved bits {bits}, opcode {opcode}": frame(opcode, b"x" * 3, reserved=bits)
        for bits in range(1, 8)
        for opcode in (TEXT, BINARY, PING, PONG, CLOSE)
    },
    "reserved bits in a continuation": STARTED + frame(CONT, b"b", reserved=4),
    # 4: reserved opcodes
    **{f"opcode {opcode}": frame(opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "opcode 5 with a payload": frame(5, b"reserved"),
    # 5: fragments
    "a ping in fragments": frame(PING, b"frag1", fin=False) + frame(CONT, b"frag2"),
    "a pong in fragments": frame(PONG, b"frag1", fin=False) + frame(CONT, b"frag2"),
    "a close in fragments": frame(CLOSE, b"\x03\xe8", fin=False) + frame(CONT),
    "a continuation of nothing": frame(CONT, b"x"),
    "a continuation of nothing that goes on": frame(CONT, b"x", fin=False) + frame(TEXT, b"y"),
    "a continuation behind a whole message": frame(TEXT, b"") + frame(CONT, b"x"),
    "a continuation behind the last fragment": STARTED + frame(CONT, b"b") + frame(CONT, b"c"),
    "a text within a text": STARTED + frame(TEXT, b"b"),
    "a binary within a text": STARTED + frame(BINARY, b"b"),
    "a text within a text, after a ping": STARTED + frame(PING) + frame(TEXT, b"b", fin=False),
    # 7: close frames
    "a close of one byte": frame(CLOSE, b"\x03"),
    **{
        f"a close with {code}": close(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    # RFC 6455 section 5.1
    "a text that is not masked": frame(TEXT, b"{}", mask=False),
    "a ping that is not masked": frame(PING, mask=False),
    "a close that is not masked": frame(CLOSE, b"\x03\xe8", mask=False),
}
INVALID = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    *(b"\xce\xba\xe1\xbd\xb9\xcf"[:size] for size in (1, 3, 4, 6)),  # cut within a character
    b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf4\x90\x80\x80",
    b"\x80", b"\xbf", b"\x80\xbf", bytes(range(0x80, 0xBF)),
    b"\xc0 \xc1 ", b"\xe0 \xe1 ", b"\xf0 \xf7 ", b"\xf8 ", b"\xfc ",
    b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf",
    b"\xfe", b"\xff", b"\xfe\xfe\xff\xff",
    b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80",
    b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
)  # fmt: skip
VALID = (
    "κόσμε", "hello$world", "hello¢world", "hello€world", "hello\U00024b62world", "\0", "\x80", "\u0800", "\U00010000",
    "\x7f", "\u07ff", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\U0001fffe",
)  # fmt: skip
TOO_BIG = {
    "a ping of 65,536 bytes": frame(PING, length=65_536),  # it also breaks the protocol; its size is checked first
    "one byte too many": frame(TEXT, b"x" * (LIMIT + 1)),
    "65,536 bytes": frame(BINARY, length=65_536),
    "2^62 bytes": frame(BINARY, length=2**62),
    "more than a signed number of 64 bits has": header(0x82, 0xFF, *[0xFF] * 8),
    "fragments of too many bytes": frame(TEXT, b"x" * 600, fin=False) + frame(CONT, b"x" * 401),
}


def read_all(data: bytes, size: int) -> tuple[list[str | bytes], int | None]:
    """Return the messages that were read, and the code of the close frame to be sent."""
    incoming, code = FrameDecoder(LIMIT), None
    chunks = []
    for at in range(0, len(data), size):
        incoming.receive(data[at : at + size])
        chunks += incoming.data_to_send()
    for chunk in chunks:
        if chunk[:1] == bytes([0x80 | CLOSE]):
            assert code is None, "more than one close frame"
            code = int.from_bytes(chunk[2:4])
    return [message for _, message in incoming.messages], code


def check(data: bytes, code: int) -> None:
    for size in (1, 7, 100_000):
        assert read_all(BEFORE + data + BEHIND + frame(PING), size) == (["before"], code)


@pytest.mark.parametrize("data", PROTOCOL.values(), ids=PROTOCOL)
def test_protocol_errors_close_with_1002(data: bytes) -> None:
    messages, code = read_all(data + BEHIND + frame(PING), 1)
    assert "behind" not in messages
    assert code == Close.PROTOCOL_ERROR
    assert read_all(data + BEHIND + frame(PING), 100_000) == (messages, code)


@pytest.mark.parametrize("payload", INVALID, ids=bytes.hex)
def test_text_that_is_not_utf8_closes_with_1007(payload: bytes) -> None:
    check(frame(TEXT, payload), Close.INVALID_TEXT)
    check(frame(TEXT, payload[:1], fin=False) + frame(CONT, payload[1:]), Close.INVALID_TEXT)
    check(
        b"".join(frame(TEXT if not at else CONT, payload[at : at + 1], fin=False) for at in range(len(payload)))
        + frame(CONT),
        Close.INVALID_TEXT,
    )


@pytest.mark.parametrize(
    "reason", [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\xff", b"\xc3"]
)
def test_a_reason_that_is_not_utf8_closes_with_1007(reason: bytes) -> None:
    check(frame(CLOSE, b"\x03\xe8" + reason), Close.INVALID_TEXT)


@pytest.mark.parametrize("words", VALID)
def test_any_utf8_text_is_accepted_however_it_is_split(words: str) -> None:
    payload = words.encode()
    for size in (1, 2, 1000):
        pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
        data = b"".join(frame(CONT if at else TEXT, piece, fin=False) for at, piece in enumerate(pieces))
        assert read_all(data + frame(CONT), 3) == ([words], None)


@pytest.mark.parametrize("data", TOO_BIG.values(), ids=TOO_BIG)
def test_too_large_messages_close_with_1009(data: bytes) -> None:
    check(data, Close.TOO_BIG)


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
)
def test_close_is_echoed_and_nothing_after_it_is_read(code: int) -> None:
    check(close(code), code)
    check(frame(CLOSE, code.to_bytes(2) + b"x" * 123), code)


def test_a_close_without_a_code_is_answered_without_one() -> None:
    incoming = FrameDecoder(LIMIT)
    incoming.receive(frame(CLOSE) + BEHIND)
    assert [chunk for chunk in incoming.data_to_send() if chunk] == [header(0x80 | CLOSE, 0)]
    assert incoming.messages == []


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536])
def test_own_frames_have_the_shortest_length_field(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == frame(TEXT, payload, mask=False)
    assert frame_end(text_frame(payload) * 2, 1) == len(text_frame(payload))


@pytest.mark.parametrize("reason", ["", "é" * 100, "\ud800"])
def test_own_close_frame_is_short_and_utf8(reason: str) -> None:
    made = close_frame(Close.NORMAL, reason)
    assert len(made) <= 2 + 125
    made[4:].decode()
