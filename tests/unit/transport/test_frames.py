"""Frames of a server, decoded by the library that clients use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from peatio_ws.transport.frames import PING, binary_frame, close_frame, frame_end, text_frame

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]
"""Sizes around those at which the length field grows (RFC 6455 section 5.2)."""


def read(data: bytes) -> list[Frame]:
    """Return all frames in these bytes, which have to be complete and unmasked."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=False, max_size=None)
        with pytest.raises(StopIteration) as end:
            next(parser)
        found.append(end.value.value)
    return found


@pytest.mark.parametrize("size", SIZES)
def test_payloads_of_all_sizes_are_unchanged(size: int) -> None:
    payload = b"x" * size
    assert read(text_frame(payload) + binary_frame(payload) + PING) == [
        Frame(Opcode.TEXT, payload),
        Frame(Opcode.BINARY, payload),
        Frame(Opcode.PING, b""),
    ]


@given(st.integers(1000, 4999).filter(lambda code: code not in (1004, 1005, 1006, *range(1015, 3000))), st.text())
def test_close_frame_has_its_code_and_the_reason_that_fits(code: int, reason: str) -> None:
    (frame,) = read(close_frame(code, reason))
    assert frame.opcode is Opcode.CLOSE
    assert len(frame.data) <= 125
    close = Close.parse(frame.data)
    assert close.code == code
    encodable = reason.encode(errors="replace").decode()
    assert encodable.startswith(close.reason)
    assert len(encodable.encode()) <= 123 or len(close.reason.encode()) > 119, (
        "more of the reason was cut than necessary"
    )


@given(st.lists(st.sampled_from(SIZES[:5]), min_size=1, max_size=5), st.booleans(), st.data())
def test_the_end_of_the_frame_that_holds_a_byte(sizes: list[int], answered: bool, data: st.DataObject) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" if answered else b""
    frames, ends = head, [len(head)]
    for size in sizes:
        frames += text_frame(b"\x81" * size)
        ends.append(len(frames))
    at = data.draw(st.integers(0, len(frames)))
    assert frame_end(frames, at) == next(end for end in ends if end >= at)
