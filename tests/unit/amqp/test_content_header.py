"""Headers of deliveries, and offsets of streams, from AMQP's content header."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from amqp import Message
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.amqp.content_header import HAS_HEADERS, OFFSET, read_headers, split_offset

BEFORE = b"before"
TEXTS = st.text(max_size=20)
HEADERS = st.dictionaries(TEXTS.filter(lambda name: name != OFFSET), TEXTS | st.integers(-9, 2**40), min_size=1)
OTHERS = st.fixed_dictionaries(
    {}, optional={"content_type": TEXTS, "content_encoding": TEXTS, "priority": st.integers(0, 9), "message_id": TEXTS}
)


def serialized(headers: dict[str, Any], **others: Any) -> bytes:
    """Return the properties of a message, with a large offset as RabbitMQ writes it: signed, which py-amqp does not."""
    properties: bytes = Message(application_headers=headers, **others)._serialize_properties()
    return properties.replace(OFFSET.encode() + b"L", OFFSET.encode() + b"l")


def read(headers: dict[str, Any], **others: Any) -> tuple[dict[str, Any], int | None]:
    """Return what is read from the properties of a message, in a buffer with other bytes around them."""
    properties = serialized(headers, **others)
    (flags,) = struct.unpack_from(">H", properties)
    assert flags & HAS_HEADERS
    found, offset = read_headers(BEFORE + properties + b"after", len(BEFORE), flags)
    return dict(found), offset


@given(HEADERS, OTHERS)
def test_headers_are_read_whatever_properties_surround_them(headers: dict[str, Any], others: dict[str, Any]) -> None:
    assert read(headers, **others) == (headers, None)


@given(HEADERS, st.integers(0, 9) | st.integers(2**40, 2**62), OTHERS)
def test_last_header_of_a_stream_is_the_offset(headers: dict[str, Any], offset: int, others: dict[str, Any]) -> None:
    assert read({**headers, OFFSET: offset}, **others) == (headers, offset)


def test_offset_is_found_before_other_headers_too() -> None:
    assert read({OFFSET: 2**40, "uid": "ID1"}) == ({"uid": "ID1"}, 2**40)


def test_offset_alone_leaves_no_headers() -> None:
    assert read({OFFSET: 2**40}) == ({}, 2**40)


def test_repeated_headers_are_one_object() -> None:
    properties = serialized({"uid": "ID7"})
    first, second = (read_headers(before + properties, len(before), HAS_HEADERS)[0] for before in (b"a", b"bc"))
    assert first is second


def test_headers_that_end_too_early_are_an_error() -> None:
    properties = serialized({"uid": "ID1"}, content_type="text")
    with pytest.raises((IndexError, struct.error)):
        read_headers(properties[:2], 0, 0x8000 | HAS_HEADERS)


def test_split_offset_leaves_headers_without_one_as_they_are() -> None:
    headers = {"uid": "ID1"}
    assert split_offset(headers) == (headers, None)
    assert split_offset(headers)[0] is headers
    assert split_offset({**headers, OFFSET: 7}) == (headers, 7)
