"""Decompression: any message arrives unchanged, a bomb ends at the limit, and nothing is left behind."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.close_codes import Close
from peatio_ws.transport.decoder import SMALL_AT_ONCE, SMALL_BYTES, FrameDecoder
from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame, text

LIMIT = 1_000
RSV1 = 4


def deflated(data: bytes, level: int = 6, bits: int = 15) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed(data: bytes, opcode: int = TEXT) -> bytes:
    return frame(opcode, deflated(data), reserved=RSV1)


def pieces(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """Return a compressed message in fragments of this size."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(
        frame(CONT if at else opcode, part, fin=at == last, reserved=0 if at else RSV1) for at, part in enumerate(parts)
    )


def read_all(data: bytes, size: int = 100_000, limit: int = LIMIT) -> tuple[list[str | bytes], int | None]:
    """Return the messages that were read, and the code of the close frame to be sent."""
    decoder, chunks = FrameDecoder(limit, compressed=True), []
    for at in range(0, len(data), size):
        decoder.receive(data[at : at + size])
        chunks += decoder.data_to_send()
    codes = [int.from_bytes(chunk[2:4]) for chunk in chunks if chunk[:1] == bytes([0x80 | CLOSE])]
    assert len(codes) <= 1, "more than one close frame"
    return [message for _, message in decoder.messages], codes[0] if codes else None


# ---- valid messages


@given(st.text(), st.integers(0, 9), st.integers(9, 15), st.integers(1, 200), st.integers(1, 300))
def test_any_text_is_unchanged_however_compressed_and_split(
    words: str, level: int, bits: int, fragment: int, size: int
) -> None:
    payload = deflated(words.encode(), level, bits)
    data = frame(TEXT, payload, reserved=RSV1) + pieces(payload, fragment) + text("plain")
    assert read_all(data, size, limit=100_000) == ([words, words, "plain"], None)


@given(st.binary(max_size=LIMIT))
def test_any_bytes_are_unchanged(data: bytes) -> None:
    assert read_all(compressed(data, BINARY), limit=LIMIT) == ([data], None)


def test_compressed_and_plain_messages_mix() -> None:
    plain = frame(TEXT, b"p", fin=False) + frame(PING) + frame(CONT, b"q")
    assert read_all(compressed(b"a") + plain + compressed(b"b") + text("c"), 3) == (["a", "pq", "b", "c"], None)


def test_control_frames_come_between_compressed_fragments() -> None:
    payload = deflated(b"hello" * 20)
    data = frame(TEXT, payload[:4], fin=False, reserved=RSV1) + frame(PING, b"1") + frame(CONT, payload[4:])
    assert read_all(data) == (["hello" * 20], None)


def test_the_examples_of_the_rfc() -> None:
    """RFC 7692 section 7.2.3."""
    hello = bytes.fromhex("f248cdc9c90700")
    assert read_all(frame(TEXT, hello, reserved=RSV1)) == (["Hello"], None)
    in_two = frame(TEXT, hello[:3], fin=False, reserved=RSV1) + frame(CONT, hello[3:])
    assert read_all(in_two) == (["Hello"], None)
    assert read_all(frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), reserved=RSV1)) == (
        ["Hello"],
        None,
    )  # stored block
    assert read_all(frame(TEXT, bytes.fromhex("f348cdc9c9070000"), reserved=RSV1)) == (["Hello"], None)  # BFINAL
    assert read_all(frame(TEXT, bytes.fromhex("f24805000000ffffcac9c90700"), reserved=RSV1)) == (["Hello"], None)
    assert read_all(frame(TEXT, b"\x00", reserved=RSV1)) == ([""], None)


def test_each_message_is_independent_of_the_previous_one() -> None:
    first = deflated(b"Hello")
    with_context = bytes.fromhex("f200110000")  # "Hello" again, as a reference into the previous message
    assert read_all(frame(TEXT, first, reserved=RSV1) + frame(TEXT, with_context, reserved=RSV1)) == (["Hello"], 1002)


# ---- limits


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
@pytest.mark.parametrize("noise", [False, True])
def test_message_of_exactly_the_limit_is_accepted(size: int, noise: bool) -> None:
    """Compression makes random data longer."""
    data = random.Random(1).randbytes(size) if noise else b"x" * size
    assert read_all(compressed(data, BINARY)) == ([data], None)
    assert read_all(pieces(deflated(data), 3, BINARY)) == ([data], None)


@pytest.mark.parametrize(
    "data",
    [
        compressed(b"x" * (LIMIT + 1)),
        compressed(b"x" * 900_000),
        pieces(deflated(b"x" * (LIMIT + 1)), 2),
        frame(TEXT, deflated(b"x" * LIMIT) + b"\x00\x00\xff\xff", fin=False, reserved=RSV1)
        + frame(CONT, deflated(b"x"), fin=False),
        frame(TEXT, b"\x00\x00\x00\xff\xff" * 100, fin=False, reserved=RSV1)
        + frame(CONT, b"\x00\x00\x00\xff\xff" * 100, fin=False)
        + frame(CONT, b"\x00\x00\x00\xff\xff" * 100, fin=False),
        frame(TEXT, length=LIMIT + 100, reserved=RSV1),
    ],
    ids=["a byte too much", "a bomb", "in fragments", "in the second fragment", "blocks without content", "its header"],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_message_over_the_limit_closes_with_1009(data: bytes, size: int) -> None:
    assert read_all(text("before") + data + text("behind"), size) == (["before"], Close.TOO_BIG)


def test_bomb_closes_before_its_end_has_arrived() -> None:
    bomb = deflated(b"x" * 900_000)
    assert read_all(frame(TEXT, bomb[:40], fin=False, reserved=RSV1)) == ([], Close.TOO_BIG)


def test_bomb_is_not_decompressed_beyond_the_limit() -> None:
    bomb = frame(TEXT, deflated(b"x" * 50_000_000), reserved=RSV1)
    decoder = FrameDecoder(65_536, compressed=True)
    tracemalloc.start()
    try:
        decoder.receive(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [chunk[2:4] for chunk in decoder.data_to_send() if chunk[:1] == b"\x88"] == [Close.TOO_BIG.to_bytes(2)]
    assert most < 2 * len(bomb) + 4 * 65_536


def test_small_fragments_are_counted_by_compressed_size() -> None:
    """They are counted by their compressed size."""
    decoder = FrameDecoder(1_000_000, compressed=True)
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)

    def fragment() -> bytes:
        return compressor.compress(b"x" * SMALL_BYTES) + compressor.flush(zlib.Z_SYNC_FLUSH)

    decoder.small_frames.tokens = SMALL_AT_ONCE
    decoder.receive(frame(TEXT, fragment(), fin=False, reserved=RSV1))
    decoder.receive(b"".join(frame(CONT, fragment(), fin=False) for _ in range(SMALL_AT_ONCE)))
    (close,) = [chunk for chunk in decoder.data_to_send() if chunk[:1] == b"\x88"]
    assert int.from_bytes(close[2:4]) == Close.POLICY


# ---- malformed data

BROKEN = {
    "a block type that there is not": b"\x07\x00",
    "a distance into nothing": bytes.fromhex("f200110000"),
    "noise": bytes(range(255, 200, -1)),
    "a stored block with another length": bytes.fromhex("000500fafe48656c6c6f00"),
    "nothing": b"",
    "half a message": deflated(random.Random(1).randbytes(200).hex().encode())[:100],
    "a stored block that is cut": bytes.fromhex("000500faff4865"),
    "a long stored block that is cut": bytes.fromhex("003200cdff4865"),
    "data behind a last block": bytes.fromhex("f348cdc9c9070000") + b"hello",
    "a second stream": zlib.compress(b"a", wbits=-15) + zlib.compress(b"b", wbits=-15),
    "a zlib header": zlib.compress(b"hello" * 50),
    "a gzip header": zlib.compress(b"hello" * 50, wbits=31),
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("size", [1, 100_000])
def test_malformed_data_closes_with_1002(payload: bytes, size: int) -> None:
    data = frame(TEXT, payload, reserved=RSV1)
    assert read_all(text("before") + data + text("behind"), size) == (["before"], Close.PROTOCOL_ERROR)
    if len(payload) > 1:
        assert read_all(text("before") + pieces(payload, 1) + text("behind"), size) == (
            ["before"],
            Close.PROTOCOL_ERROR,
        )


MISPLACED = {
    **{f"opcode {opcode}": frame(opcode, b"", reserved=RSV1) for opcode in (PING, PONG, CLOSE)},
    "a continuation": frame(TEXT, deflated(b"a"), fin=False, reserved=RSV1) + frame(CONT, b"", reserved=RSV1),
    "a continuation of a plain text": frame(TEXT, b"a", fin=False) + frame(CONT, deflated(b"b"), reserved=RSV1),
    "a continuation of nothing": frame(CONT, deflated(b"b"), reserved=RSV1),
    "not masked": compressed(b"a")[:1] + b"\x00",
    "a text within a text": frame(TEXT, deflated(b"a"), fin=False, reserved=RSV1) + compressed(b"b"),
    "a plain text within a text": frame(TEXT, deflated(b"a"), fin=False, reserved=RSV1) + text("b"),
    **{f"bits {bits}": frame(TEXT, deflated(b"a"), reserved=bits) for bits in (1, 2, 3, 5, 6, 7)},
}


@pytest.mark.parametrize("data", MISPLACED.values(), ids=MISPLACED)
def test_misplaced_compression_bit_closes_with_1002(data: bytes) -> None:
    assert read_all(data + text("behind")) == ([], Close.PROTOCOL_ERROR)


def test_compression_bit_without_negotiation_closes_with_1002() -> None:
    decoder = FrameDecoder(LIMIT)
    decoder.receive(compressed(b"a"))
    assert decoder.messages == []
    assert any(chunk[:1] == b"\x88" and chunk[2:4] == b"\x03\xea" for chunk in decoder.data_to_send())


@pytest.mark.parametrize("words", [b"\xff", b"abc\xc3", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_closes_with_1007(words: bytes) -> None:
    assert read_all(text("before") + compressed(words)) == (["before"], Close.INVALID_TEXT)
    assert read_all(pieces(deflated(words), 1)) == ([], Close.INVALID_TEXT)


@given(st.binary(max_size=300), st.booleans(), st.integers(1, 50))
def test_any_bytes_end_in_a_message_or_a_code(payload: bytes, fin: bool, size: int) -> None:
    messages, code = read_all(frame(TEXT, payload, fin=fin, reserved=RSV1) + frame(CONT, b""), size)
    assert code in (None, Close.PROTOCOL_ERROR, Close.INVALID_TEXT, Close.TOO_BIG)
    assert len(messages) <= 1
    assert all(len(str(message).encode()) <= LIMIT for message in messages)


# ---- memory


def test_idle_compressed_connection_needs_under_a_kilobyte_more() -> None:
    message, plain = compressed(b"hello" * 100), text("hello" * 100)
    held = {}
    for negotiated in (False, True):
        tracemalloc.start()
        try:
            kept = [FrameDecoder(16_384, compressed=negotiated) for _ in range(100)]
            for decoder in kept:
                decoder.receive(message if negotiated else plain)
                decoder.messages.clear()
            held[negotiated], _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        del kept
    assert (held[True] - held[False]) / 100 < 1024
