"""The session that event handlers receive."""

from __future__ import annotations

from typing import Any

import pytest

from peatio_ws import ClientError, Gateway, testing


@pytest.fixture
def gateway() -> Gateway:
    return testing.gateway(RANGO_RBAC_ADMIN="admin", WEBSOCKET_MAX_STREAMS="5")


def test_a_reply_is_bytes_or_json(gateway: Gateway) -> None:
    replies: list[Any] = [b'{"a": 1.50}', {"b": [None]}, "text", 7, b"\xff", object()]

    @gateway.on("next")
    def handler(session: Any, message: dict[str, Any]) -> None:
        session.reply(replies.pop(0))

    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        for answer in ('{"a": 1.50}', '{"b":[null]}', '"text"', "7", *['{"error":"Error while handling message"}'] * 2):
            client.send({"event": "next"})
            assert client.receive() == answer


def test_a_reply_object_ends_with_the_echo_of_the_message(gateway: Gateway) -> None:
    replies: list[Any] = [b'{"a": 1.50}', b" {} ", b"{ \n}", {"b": [None]}, {"echo": 1}, "text", [1], b"{oops", b"\xff"]

    @gateway.on("next")
    def handler(session: Any, message: dict[str, Any]) -> None:
        session.reply(replies.pop(0))

    @gateway.on("refuse")
    def refuse(session: Any, message: dict[str, Any]) -> None:
        raise ClientError("no")

    answers = [
        '{"a": 1.50,"echo":"x"}',
        '{"echo":"x"}',
        '{"echo":"x"}',
        '{"b":[null],"echo":"x"}',
        '{"echo":1}',
        '"text"',
        "[1]",
        "{oops",
    ]
    answers.append('{"error":"Error while handling message","echo":"x"}')
    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        for answer in answers:
            client.send({"event": "next", "echo": "x"})
            assert client.receive() == answer
        client.send({"event": "refuse", "echo": 5})
        assert client.receive() == '{"error":"no","echo":5}'
        client.send({"event": "refuse"})
        assert client.receive() == '{"error":"no"}'


def test_a_message_sent_after_the_handler_returned_has_no_echo(gateway: Gateway) -> None:
    sessions: list[Any] = []
    gateway.on("keep")(lambda session, message: sessions.append(session) or session.reply({"n": 1}))
    gateway.on("push")(lambda session, message: sessions[0].reply({"n": 2}))
    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        client.send({"event": "keep", "echo": 1})
        assert client.receive() == '{"n":1,"echo":1}'
        client.send({"event": "push", "echo": 2})
        assert client.receive() == '{"n":2}'


def test_the_reply_to_a_resume_ends_with_the_echo(gateway: Gateway) -> None:
    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        for _ in range(2):  # the first token, and one of a live client
            client.send({"jwt": f"Bearer {server.token()}", "resume": True, "echo": "x"})
            assert list(client.json()) == ["success", "resume", "echo"]


def test_sessions_of_a_connection_are_equal_and_stay_usable(gateway: Gateway) -> None:
    sessions: list[Any] = []
    gateway.on("keep")(lambda session, message: sessions.append(session) or session.reply(1))
    gateway.on("close")(lambda session, message: sessions[0].close(4000, "all of you"))

    with testing.serve(gateway) as server:
        first, second = server.member("IDANN"), server.member("IDBOB")
        for client in (first, first, second):
            client.send({"event": "keep"})
            assert client.json() == 1
        assert sessions[0] == sessions[1] != sessions[2]
        assert (len(set(sessions)), sessions[0].id == sessions[1].id) == (2, True)
        assert (sessions[0].uid, sessions[2].uid, sessions[2].role) == ("IDANN", "IDBOB", "member")
        second.send({"event": "close"})
        assert first.closed() == (4000, "all of you")
        sessions[0].reply("not delivered")


def test_handlers_cannot_replace_built_in_events(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="by the gateway itself"):
        gateway.on("subscribe")(print)
    with testing.serve(gateway) as server:
        client = server.connect("/public")
        client.json()
        for event in (None, 5, ["subscribe"], "not.there"):
            client.send({"event": event})
            assert client.json() == {"error": "Could not parse Type: Invalid event"}
