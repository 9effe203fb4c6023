"""Compression of outgoing messages: negotiation, and the frames that a client receives."""

from __future__ import annotations

import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.transport.compression import (
    LONGEST_OFFERS,
    REMEMBERED_BYTES,
    SMALL_WINDOW_BITS,
    WINDOW_BITS,
    Compression,
    Variants,
    negotiate,
    shared_compression,
)
from peatio_ws.transport.frames import frame_end, payload_at, text_frame

THRESHOLD = 512
BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TICKERS = json.dumps({f"market{number}": {"last": str(number / 7), "volume": "1.0"} for number in range(80)}).encode()


def inflated(frames: bytes, window_bits: int = 15) -> list[tuple[bool, bytes]]:
    """Return each text's payload as a client with this window reads it, and whether it was compressed."""
    found, at = [], 0
    while at < len(frames):
        start, end = payload_at(frames, at)
        assert frames[at] in (0x81, 0xC1), "not a whole text frame"
        payload = frames[start:end]
        compressed = frames[at] == 0xC1
        if compressed:
            payload = zlib.decompressobj(-window_bits).decompress(payload + b"\x00\x00\xff\xff")
        found.append((compressed, payload))
        at = end
    return found


# ---- negotiation


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", BOTH),
        ("permessage-deflate; client_max_window_bits", BOTH),  # as browsers offer
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", BOTH),
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=11", BOTH + "; %s; %s"),
        ('permessage-deflate; server_max_window_bits="12"; client_max_window_bits=11', BOTH + "; %s; %s"),
        ("x-other, permessage-deflate", BOTH),
        ("permessage-deflate; unknown, permessage-deflate", BOTH),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", BOTH),  # not supported by zlib
        ("permessage-deflate;unknown=1 , permessage-deflate; client_max_window_bits , permessage-deflate", BOTH),
    ],
)
def test_an_offer_is_accepted_without_context_takeover(offers: str, answer: str) -> None:
    agreed = negotiate(offers, THRESHOLD)
    assert agreed is not None
    assert agreed.answer == answer.replace("%s; %s", "server_max_window_bits=12; client_max_window_bits=11")


@pytest.mark.parametrize(
    "offers",
    [
        "",
        " ",
        "x-webkit-deflate-frame",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; unknown",
        "permessage-deflate; =",
        "permessage-deflate,,;",
        'permessage-deflate; server_max_window_bits="1',
        "\xff",
        "a" * 8000,
    ],
)
def test_an_offer_that_cannot_be_accepted_is_declined(offers: str) -> None:
    assert negotiate(offers, THRESHOLD) is None


@given(st.text() | st.text(alphabet=' ;,="permessage-deflate_windowbits1258\\', max_size=80))
def test_any_offer_is_accepted_or_declined(offers: str) -> None:
    agreed = negotiate(offers, THRESHOLD)
    assert agreed is None or agreed.answer.startswith(BOTH)


@pytest.mark.parametrize("bits", range(9, 16))
def test_client_can_read_texts_with_its_requested_window(bits: int) -> None:
    agreed = negotiate(f"permessage-deflate; server_max_window_bits={bits}", THRESHOLD)
    assert agreed is not None
    assert agreed.answer == f"{BOTH}; server_max_window_bits={bits}"
    # The repeated text is further away than any smaller window reaches.
    noise = random.Random(1).randbytes(1 << bits).hex().encode()
    text = noise + noise
    assert inflated(agreed.compression.compress(text_frame(text)), bits) == [(True, text)]


def test_long_offers_are_declined_without_parsing_them() -> None:
    offer = "permessage-deflate"
    assert negotiate(offer.ljust(LONGEST_OFFERS), THRESHOLD) is not None
    assert negotiate(offer.ljust(LONGEST_OFFERS + 1), THRESHOLD) is None


def test_two_compressions_serve_all_requested_windows() -> None:
    offers = ["permessage-deflate", *(f"permessage-deflate; server_max_window_bits={bits}" for bits in range(9, 16))]
    agreed = [negotiate(offer, THRESHOLD) for offer in offers]
    assert {one.compression for one in agreed if one is not None} == {
        shared_compression(WINDOW_BITS, THRESHOLD),
        shared_compression(SMALL_WINDOW_BITS, THRESHOLD),
    }


# ---- frames


@given(st.text(max_size=20_000) | st.integers(0, 80_000).map(lambda size: "grüße " * (size // 7)))
def test_any_text_survives_compression(text: str) -> None:
    for bits in (WINDOW_BITS, SMALL_WINDOW_BITS):
        frame = text_frame(text.encode())
        made = Compression(bits, 0).compress(frame)
        ((compressed, payload),) = inflated(made, bits)
        assert payload.decode() == text
        assert len(made) < len(frame) if compressed else made == frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, THRESHOLD])
def test_texts_up_to_the_threshold_are_not_compressed(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert Compression(WINDOW_BITS, THRESHOLD).compress(frame) == frame


def test_the_first_text_over_the_threshold_is_compressed() -> None:
    compression = Compression(WINDOW_BITS, THRESHOLD)
    assert inflated(compression.compress(text_frame(b"x" * (THRESHOLD + 1)))) == [(True, b"x" * (THRESHOLD + 1))]


def test_text_that_does_not_become_smaller_is_not_compressed() -> None:
    frame = text_frame(random.Random(1).randbytes(5_000))
    assert Compression(WINDOW_BITS, THRESHOLD).compress(frame) == frame


def test_only_frames_worth_it_are_compressed() -> None:
    texts = [TICKERS, b"{}", b"x" * 70_000, b"y" * THRESHOLD]
    made = Compression(WINDOW_BITS, THRESHOLD).compress(b"".join(map(text_frame, texts)))
    assert inflated(made) == [(True, TICKERS), (False, b"{}"), (True, texts[2]), (False, texts[3])]


def test_each_frame_is_independent_of_those_before_it() -> None:
    compression = Compression(WINDOW_BITS, THRESHOLD)
    first = compression.compress(text_frame(TICKERS))
    compression.compress(text_frame(TICKERS[1:]))
    assert compression.compress(text_frame(TICKERS)) == first


def test_compressed_tickers_are_a_third_as_long() -> None:
    frame = text_frame(TICKERS)
    assert len(Compression(WINDOW_BITS, THRESHOLD).compress(frame)) < len(frame) / 3


def test_end_of_compressed_frames_is_found() -> None:
    made = Compression(WINDOW_BITS, THRESHOLD).compress(text_frame(TICKERS) + text_frame(TICKERS[:-1]))
    (first, second) = (payload_at(made, 0)[1], len(made))
    assert [frame_end(made, at) for at in (1, first, first + 1)] == [first, first, second]


# ---- one compression for all clients


def test_last_text_is_compressed_once_for_all_clients() -> None:
    compression = Compression(WINDOW_BITS, THRESHOLD)
    made = [compression.compress(text_frame(bytes(bytearray(TICKERS)))) for _ in range(5)]
    assert len(set(map(id, made))) == 1
    assert (compression.texts, compression.bytes_before) == (1, len(TICKERS))
    assert compression.bytes_after == len(made[0]) - 4


def test_a_large_text_is_not_kept() -> None:
    compression = Compression(WINDOW_BITS, THRESHOLD)
    frame = text_frame(b"x" * REMEMBERED_BYTES)
    assert compression.compress(frame) is not compression.compress(frame)


def test_variants_are_made_once_and_on_demand() -> None:
    large, small = Compression(WINDOW_BITS, THRESHOLD), Compression(SMALL_WINDOW_BITS, THRESHOLD)
    variants = Variants(text_frame(TICKERS))
    assert variants[None] == text_frame(TICKERS)
    assert (large.texts, small.texts) == (0, 0)
    assert variants[large] is variants[large]
    assert inflated(variants[small], SMALL_WINDOW_BITS) == inflated(variants[large]) == [(True, TICKERS)]
    large.compress(text_frame(TICKERS[1:]))
    assert inflated(variants[large]) == [(True, TICKERS)]
    assert (large.texts, small.texts) == (2, 1)
