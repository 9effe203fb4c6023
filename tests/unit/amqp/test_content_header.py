"""Headers of deliveries, and offsets of streams, from AMQP's content header."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pytest
from amqp import Message
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.amqp import content_header
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


def entry(name: str, kind: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + kind + value


def table(*entries: bytes) -> bytes:
    joined = b"".join(entries)
    return struct.pack(">HI", HAS_HEADERS, len(joined)) + joined


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = b"A" + len(value).to_bytes(4) + value
    return value[1:]


@pytest.mark.parametrize(
    "unreadable",
    [(b"T", struct.pack(">Q", 1_767_225_600_000)), (b"T", b"\xff" * 8), (b"A", nested(3000))],
    ids=["milliseconds", "the largest time", "nested"],
)
def test_value_that_py_amqp_cannot_represent_is_kept_as_bytes(unreadable: tuple[bytes, bytes]) -> None:
    others = [
        entry("number", b"l", struct.pack(">q", -5)),
        entry("flag", b"t", b"\x01"),
        entry("none", b"V", b""),
        entry("half", b"d", struct.pack(">d", 0.5)),
        entry("price", b"D", struct.pack(">Bi", 2, 150)),
        entry("list", b"A", struct.pack(">I", 2) + b"b\x07"),
        entry("uid", b"S", struct.pack(">I", 3) + b"ID1"),
    ]
    offset = entry(OFFSET, b"l", struct.pack(">q", 9))
    found, at = read_headers(table(entry("at", *unreadable), *others, offset), 0, HAS_HEADERS)
    expected = {
        "number": -5,
        "flag": True,
        "none": None,
        "half": 0.5,
        "price": Decimal("1.5"),
        "list": [7],
        "uid": "ID1",
    }
    assert (found, at) == ({"at": unreadable[1], **expected}, 9)


def test_every_type_that_py_amqp_reads_is_skipped_by_its_size() -> None:
    """Each value is followed by one that only the other way can read."""
    late = entry("late", b"T", b"\xff" * 8)
    for kind in b"VtbBsuUIifDlLdTSxFA":
        plain = entry("plain", bytes([kind]), bytes(content_header._SIZES.get(kind, 4)))
        (expected, _), (found, _) = (read_headers(table(*both), 0, HAS_HEADERS) for both in ([plain], [plain, late]))
        assert found == {**expected, "late": b"\xff" * 8}, chr(kind)


def test_split_offset_leaves_headers_without_one_as_they_are() -> None:
    headers = {"uid": "ID1"}
    assert split_offset(headers) == (headers, None)
    assert split_offset(headers)[0] is headers
    assert split_offset({**headers, OFFSET: 7}) == (headers, 7)
