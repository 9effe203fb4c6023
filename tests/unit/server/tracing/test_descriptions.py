"""What a trace says of frames and messages. Never a token."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from peatio_ws.protocol import encoding
from peatio_ws.server.tracing import descriptions
from peatio_ws.server.tracing.descriptions import MOST_CHARACTERS, SentFrame, event_names, frames_in
from peatio_ws.transport.compression import Compression
from peatio_ws.transport.frames import PING, binary_frame, close_frame, text_frame
from tests.unit.samples import claims, sign

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
RANGER = event_names("ranger", ["order", "btcusd.trades", "admin.eurusd.sys", "success"])
CLASSIC = event_names("classic", [])
TOKEN = sign(claims())


def sent(payload: bytes, names: frozenset[str] = RANGER) -> tuple[str, dict[str, Any]]:
    return descriptions.sent(SentFrame(Opcode.TEXT, payload), names)


def test_frames_are_split_after_the_answer_to_the_handshake() -> None:
    data = text_frame(b"a" * 70_000) + PING + binary_frame(b"\xff") + close_frame(1000, "")
    assert list(frames_in(ANSWER)) == []
    assert list(frames_in(ANSWER + data)) == list(frames_in(data))
    assert [(frame.opcode, len(frame.payload)) for frame in frames_in(data)] == [(1, 70_000), (9, 0), (2, 1), (8, 2)]
    assert descriptions.count_frames(ANSWER + data) == 4


def test_compressed_frames_are_shown_as_texts() -> None:
    text = encoding.stream_event("btcusd.trades", b'{"trades":[%b]}' % b",".join([b'{"price":"9120.5"}'] * 100))
    compressed = Compression(12, 512).compress(text_frame(text))
    assert len(compressed) < len(text) / 4
    assert [frame.payload for frame in frames_in(compressed + text_frame(b"{}"))] == [text, b"{}"]


@pytest.mark.parametrize(
    ("payload", "names", "kind", "fields"),
    [
        (encoding.stream_event("btcusd.trades", b"{}"), RANGER, "delivered", {"stream": "btcusd.trades"}),
        (encoding.stream_event("btcusd.ob-snap", b"{}"), RANGER, "delivered", {"stream": "btcusd.ob-snap"}),
        (encoding.stream_event("eurusd.sys", b"{}"), RANGER, "delivered", {"stream": "eurusd.sys"}),
        (encoding.stream_event('o"d.d', b"{}"), RANGER, "delivered", {"stream": 'o"d.d'}),
        (encoding.with_cursor(b'{"order":{}}', "Ab-_9"), RANGER, "delivered", {"stream": "order", "cursor": "Ab-_9"}),
        (encoding.with_mark(b'{"a.trades":{}}', "m1"), RANGER, "delivered", {"stream": "a.trades", "mark": "m1"}),
        (b'{"order":{"cursor":"no"}}', RANGER, "delivered", {"stream": "order"}),
        (b'{"orderbook":{}}', CLASSIC, "delivered", {"stream": "orderbook"}),
        (b'{"orderbook":{}}', RANGER, "sent", {"what": "orderbook"}),
        (encoding.AUTHENTICATED, CLASSIC, "sent", {"what": "success"}),
        (encoding.PONG, RANGER, "sent", {"what": "pong"}),
        (encoding.challenge("x"), CLASSIC, "sent", {"what": "challenge"}),
        (b"a handler's text", RANGER, "sent", {"what": "message"}),
        (b"[1]", RANGER, "sent", {"what": "message"}),
        (b'{"\\ud800":1}', RANGER, "sent", {"what": "message"}),
    ],
)
def test_events_are_told_from_other_messages(
    payload: bytes, names: frozenset[str], kind: str, fields: dict[str, Any]
) -> None:
    assert sent(payload, names) == (kind, {**fields, "bytes": len(payload)})


def test_binary_messages_are_not_read() -> None:
    frame = SentFrame(Opcode.BINARY, b'{"order":{}}')
    assert descriptions.sent(frame, RANGER) == ("sent", {"what": "binary", "bytes": 12})


@pytest.mark.parametrize("complete", [True, False])
def test_cursor_of_a_reply_is_found(complete: bool) -> None:
    found = {"complete": complete, "cursor": "Ab-_9"}
    assert descriptions.resumed(encoding.resumed(encoding.AUTHENTICATED, "Ab-_9", complete)) == found
    assert descriptions.resumed(encoding.with_echo(encoding.resume("Ab-_9", complete), b"1")) == found
    assert descriptions.resumed(encoding.AUTHENTICATED) is None


# ---- what clients send


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ('{"event":"subscribe","streams":["btcusd.trades"]}', "subscribe"),
        ('{"event":"place","order":{}}', "place"),
        ('{"event":' + json.dumps("x" * 200) + "}", "x" * 128),
        ('{"event":1}', "message"),
        (" ping ", "ping"),
        ("hello", "message"),
        ("[1]", "message"),
    ],
)
def test_messages_of_clients_are_named_and_shown(message: str, what: str) -> None:
    assert descriptions.received(message) == (what, message)


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"jwt": f"Bearer {TOKEN}"}),
        '{"\\u006awt":"Bearer opaque"}',
        '{"event":"login","data":{"access_\\u0074oken":"opaque"}}',
        f'{{"event":"login","with":"{TOKEN}"}}',
        f"login {TOKEN}",
        "Bearer opaque",
        '{"jwt":"Bearer opaque"',
        '{"\\u006awt":"Bearer opaque"',
        '{"password":"opaque"}',
        '{"jwt":"' + "[" * 5000,
    ],
)
def test_messages_with_a_token_are_not_shown(message: str) -> None:
    assert descriptions.received(message)[1] is None


def test_binary_messages_of_clients_are_not_shown() -> None:
    assert descriptions.received(b"\xff") == ("binary", None)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_message_has_a_name(message: str) -> None:
    what, shown = descriptions.received(message)
    assert what
    assert shown in (None, message)


# ---- bodies


@pytest.mark.parametrize(
    "text", [TOKEN, f'{{"a":"{TOKEN}"}}', f"Bearer {TOKEN}", "authorization: bearer opaque-secret", TOKEN[:-20]]
)
def test_tokens_in_bodies_are_replaced(text: str) -> None:
    shown = descriptions.body(text.encode())["body"]
    assert "(token)" in shown
    assert "opaque-secret" not in shown
    assert not any(part in shown for part in TOKEN.split("."))


@pytest.mark.parametrize("text", ["eyJ" * 30_000, "a-" * 45_000 + "eyJ", "." * 90_000, "bearer " * 13_000])
def test_each_word_is_read_once(text: str) -> None:
    """A client that is traced chooses its texts, and must not delay the other clients of the worker by them."""
    began = time.thread_time()
    descriptions.received(text)
    descriptions.body(text)
    assert time.thread_time() - began < 5, "seconds of CPU; 40 where each `eyJ` is a beginning"


def test_long_bodies_are_cut() -> None:
    assert descriptions.body("é" * MOST_CHARACTERS) == {"body": "é" * MOST_CHARACTERS}
    for text in ("é" * (MOST_CHARACTERS + 1), "\U0001f600" * 10 * MOST_CHARACTERS):
        for sent_as in (text, text.encode()):
            assert descriptions.body(sent_as) == {"body": text[:MOST_CHARACTERS], "cut": True}


def test_token_at_the_cut_is_replaced() -> None:
    text = "x" * (MOST_CHARACTERS - 20) + TOKEN + " y"
    shown = descriptions.body(text.encode())
    assert shown == {"body": "x" * (MOST_CHARACTERS - 20) + "(token) y"}
