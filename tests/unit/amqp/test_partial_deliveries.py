"""The frames of a delivery are put together, and frames that cannot follow are refused."""

from __future__ import annotations

import struct

import pytest

from peatio_ws.amqp.partial_deliveries import BODY, HEADER, METHOD, PartialDeliveries


def header(size: int) -> bytes:
    return struct.pack(">HHQH", 60, 0, size, 0)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def test_body_in_several_frames_becomes_one_frame() -> None:
    partial = PartialDeliveries()
    partial.begin(2, b"method")
    assert partial.add(HEADER, 2, header(5)) == []
    assert partial.add(BODY, 2, b"ab") == []
    whole = partial.add(BODY, 2, b"cde")
    assert b"".join(whole or []) == frame(METHOD, 2, b"method") + frame(HEADER, 2, header(5)) + frame(BODY, 2, b"abcde")
    assert partial.add(BODY, 2, b"more") is None


def test_delivery_without_a_body_ends_with_its_header() -> None:
    partial = PartialDeliveries()
    partial.begin(2, b"method")
    assert b"".join(partial.add(HEADER, 2, header(0)) or []) == frame(METHOD, 2, b"method") + frame(
        HEADER, 2, header(0)
    )


def test_channels_are_independent() -> None:
    partial = PartialDeliveries()
    partial.begin(1, b"one")
    partial.begin(2, b"two")
    assert partial.add(HEADER, 3, header(1)) is None
    assert partial.add(HEADER, 1, header(1)) == []
    assert b"one" not in (partial.add(HEADER, 2, header(0)) or [])
    assert b"one" in (partial.add(BODY, 1, b"x") or [])


@pytest.mark.parametrize(
    "frames",
    [
        [(BODY, b"x")],
        [(METHOD, b"x")],
        [(HEADER, b"x")],
        [(HEADER, header(1)), (HEADER, header(1))],
        [(HEADER, header(1)), (BODY, b"xx")],
        [(HEADER, header(1)), (METHOD, b"x")],
    ],
)
def test_frame_that_cannot_follow_is_a_connection_error(frames: list[tuple[int, bytes]]) -> None:
    partial = PartialDeliveries()
    partial.begin(1, b"method")
    *good, (kind, payload) = frames
    for before in good:
        assert partial.add(before[0], 1, before[1]) == []
    with pytest.raises(OSError, match="unexpected frame"):
        partial.add(kind, 1, payload)
