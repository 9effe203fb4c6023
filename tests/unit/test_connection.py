"""A WebSocket of a path, as its handler sees it: streams, tokens, threads."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from peatio_ws import ClientError, Disconnect, Gateway, in_thread, require_authenticated, testing


@pytest.fixture
def gateway() -> Gateway:
    return testing.gateway(RANGO_RBAC_ADMIN="admin", WEBSOCKET_MAX_STREAMS="5")


def test_a_token_that_ends_ends_the_connection_where_that_is_enforced() -> None:
    gateway = testing.gateway(JWT_ENFORCE_EXPIRY="true")
    gateway.websocket("/wait")(lambda ws: ws.receive())
    with testing.serve(gateway) as server:
        ann = server.connect("/wait", token=server.token(expires=1))
        assert ann.closed() == (4401, "token expired")


def test_who_is_on_no_list_gets_no_stream(gateway: Gateway) -> None:
    @gateway.websocket("/streams")
    def streams(ws: Any) -> None:
        for names in ws:
            try:
                ws.subscribe(*names.split())
            except ClientError as error:
                ws.send(str(error))
            else:
                ws.send("subscribed")

    with testing.serve(gateway) as server:
        nobody = server.connect("/streams")
        admin = server.connect("/streams", token=server.token(role="admin"))
        for names, to_nobody, to_admin in [
            ("order", "cannot subscribe to order: not authenticated", "subscribed"),
            ("admin.a.b", "cannot subscribe to admin.a.b", "subscribed"),
            ("a.b admin.a.b", "cannot subscribe to admin.a.b", "subscribed"),
            ("a.b.c.d", "cannot subscribe to a.b.c.d", "cannot subscribe to a.b.c.d"),
            ("a.1 a.2 a.3 a.4 a.5 a.6", *["too many streams: a connection has 5 at most"] * 2),
        ]:
            for client, answer in (nobody, to_nobody), (admin, to_admin):
                client.send(names)
                assert client.receive() == answer
        server.publisher.to_stream("a.b", 1)
        assert admin.receive() == '{"a.b":1}'
        nobody.send("c.d")
        assert nobody.receive() == "subscribed", "of those that were refused together none came"


def test_a_stream_ends_when_it_is_given_up(gateway: Gateway) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.subscribe("a.b", "order")
        ws.subscribe("a.b")
        ws.send("there")
        ws.receive()
        ws.unsubscribe("a.b", "never.had")
        ws.send("gone")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/", token=server.token("IDANN"))
        assert ann.receive() == "there"
        server.publisher.to_stream("a.b", 1)
        assert ann.receive() == '{"a.b":1}'
        ann.send("")
        assert ann.receive() == "gone"
        server.publisher.to_stream("a.b", 2)
        server.publisher.to_member("IDANN", "order", {"id": 3})
        assert ann.json()["order"]["id"] == 3
    assert not len(gateway._house.router), "nothing is left of it"


@pytest.mark.parametrize(
    ("message", "error"), [(5, "not int"), (None, "not NoneType"), ({"a": 1}, "json.dumps"), (["a"], "not list")]
)
def test_what_is_no_message_is_not_sent(gateway: Gateway, message: object, error: str) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        with pytest.raises(TypeError, match=error):
            ws.send(message)
        ws.send("asked")

    with testing.serve(gateway) as server:
        assert server.connect("/").receive() == "asked"


def test_work_in_a_thread_comes_back_with_its_result_or_its_error(gateway: Gateway) -> None:
    threads: list[str] = []

    def work(number: int, *, fails: bool) -> int:
        threads.append(threading.current_thread().name)
        if fails:
            raise Disconnect(4000, str(number))
        return number + 1

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.send(str(in_thread(work, 1, fails=False)))
        in_thread(work, 2, fails=True)

    with testing.serve(gateway) as server:
        client = server.connect("/")
        assert client.receive() == "2"
        assert client.closed() == (4000, "2")
    assert "peatio_ws.testing" not in threads


def test_require_authenticated_lets_members_pass(gateway: Gateway) -> None:
    gateway.websocket("/")(lambda ws: require_authenticated(ws) or ws.send(ws.member.uid))
    with testing.serve(gateway) as server:
        assert server.connect("/", token=server.token("IDANN")).receive() == "IDANN"
        assert server.connect("/").closed() == (1008, "Not authenticated.")


def test_who_is_asked_who_it_is_says_a_uid_or_nobody_or_fails(gateway: Gateway) -> None:
    answers: dict[str, Any] = {"ann": "IDANN", "nobody": None, "number": 7, "blank": ""}

    @gateway.websocket("/who", identify=lambda environ: answers[environ["HTTP_COOKIE"]])
    def who(ws: Any) -> None:
        ws.send(repr(ws.member and (ws.member.uid, ws.member.role)))
        ws.receive()

    with testing.serve(gateway) as server:
        assert server.connect("/who", cookie="ann").receive() == "('IDANN', '')"
        assert server.connect("/who", cookie="nobody").receive() == "None"
        for cookie in ("number", "blank", "a KeyError"):
            with pytest.raises(InvalidStatus) as refused:
                server.connect("/who", cookie=cookie)
            assert refused.value.response.status_code == 500
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/who", cookie="ann", origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403


def test_a_connection_keeps_the_text_of_its_request_and_nothing_else() -> None:
    kept: list[dict[str, Any]] = []

    def framework(environ: dict[str, Any], start_response: Any) -> Any:
        environ.update({"framework.request": object(), "REMOTE_USER": "ann"})
        return gateway(environ, start_response)

    gateway = testing.gateway()
    gateway.websocket("/here")(lambda ws: kept.append(ws.environ))
    with testing.serve(framework) as server:
        server.connect("/here?a=b", cookie="c=d").closed()
    (environ,) = kept
    assert {type(value) for value in environ.values()} == {str}
    wanted = {"PATH_INFO": "/here", "QUERY_STRING": "a=b", "HTTP_COOKIE": "c=d", "REMOTE_USER": "ann"}
    assert wanted.items() <= environ.items()
    assert environ["wsgi.url_scheme"] == "http"


def test_a_member_by_a_cookie_has_no_end_that_could_be_enforced() -> None:
    gateway = testing.gateway(JWT_ENFORCE_EXPIRY="true")
    ticked: list[bool] = []

    @gateway.websocket("/who", identify=lambda environ: "IDANN")
    def who(ws: Any) -> None:
        ws.tick(time.monotonic())
        ticked.append(ws.closed)
        ws.send("still here")

    with testing.serve(gateway) as server:
        assert server.connect("/who").receive() == "still here"
    assert ticked == [False]
