"""Replies and envelopes, to the letter."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.protocol import encoding
from peatio_ws.protocol.encoding import Dialect


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (encoding.AUTHENTICATED, '{"success":{"message":"Authenticated."}}'),
        (encoding.AUTHENTICATION_FAILED, '{"error":{"message":"Authentication failed."}}'),
        (encoding.NO_BEARER, '{"error":{"message":"Token type is not provided or invalid."}}'),
        (encoding.NOT_UNDERSTOOD, '{"error":{"message":"Error while handling message."}}'),
        (encoding.TOKEN_EXPIRED, '{"error":{"message":"Token expired."}}'),
        (encoding.challenge("a-b_c"), '{"challenge":"a-b_c"}'),
    ],
)
def test_reply_is_the_documented_text(reply: bytes, text: str) -> None:
    assert reply.decode() == text


@given(st.text(min_size=1))
def test_stream_event_contains_its_body_under_its_name(stream: str) -> None:
    frame = encoding.stream_event(stream, b'{ "n":1000.0}')
    assert frame.endswith(b':{ "n":1000.0}}')
    assert json.loads(frame) == {stream: {"n": 1000.0}}


@pytest.mark.parametrize("text", ["no such order", 'a "quote"', "half a pair: \ud800"])
def test_handler_error_is_in_the_clients_protocol(text: str) -> None:
    sent = text.replace("\ud800", "?")
    assert json.loads(encoding.error(Dialect.CLASSIC, text)) == {"error": {"message": sent}}
    assert json.loads(encoding.error(Dialect.RANGER, text)) == {"error": sent}


def test_handler_failure_hides_the_reason() -> None:
    assert encoding.failed(Dialect.CLASSIC) == b'{"error":{"message":"Error while handling message."}}'
    assert encoding.failed(Dialect.RANGER) == b'{"error":"Error while handling message"}'


@pytest.mark.parametrize(
    ("complete", "marks", "added"),
    [
        ({}, {}, b""),
        ({"a.trades": True, "b.trades": False}, {}, b',"complete":{"a.trades":true,"b.trades":false}'),
        ({}, {"a.trades": "m"}, b',"marks":{"a.trades":"m"}'),
        ({"a.trades": False}, {"a.trades": "m"}, b',"complete":{"a.trades":false},"marks":{"a.trades":"m"}'),
    ],
)
def test_marks_are_further_keys_of_a_reply(complete: dict[str, bool], marks: dict[str, str], added: bytes) -> None:
    assert encoding.with_marks(b'{"success":1}', complete, marks) == b'{"success":1' + added + b"}"


def test_mark_is_the_second_key_of_an_event() -> None:
    assert encoding.with_mark(b'{"a.trades":{"tid": 1}}', "m") == b'{"a.trades":{"tid": 1},"mark":"m"}'
    assert encoding.incomplete("a.trades") == b'{"complete":{"a.trades":false}}'
