"""The connection that a path's handler receives: messages, tokens, limits, threads."""

from __future__ import annotations

import contextlib
import itertools
import operator
import threading
import time
from typing import Any

import gevent
import gevent.event
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from websockets.exceptions import InvalidStatus

from peatio_ws import ClientError, Disconnect, Gateway, in_thread, require_authenticated, testing


@pytest.fixture
def gateway() -> Gateway:
    return testing.gateway(RANGO_RBAC_ADMIN="admin", WEBSOCKET_MAX_STREAMS="5")


def test_expired_token_closes_the_connection_if_enforced() -> None:
    gateway = testing.gateway(JWT_ENFORCE_EXPIRY="true")
    gateway.websocket("/wait")(lambda ws: ws.receive())
    with testing.serve(gateway) as server:
        ann, seconds = connected_with_a_short_token(server)
        assert ann.closed(timeout=seconds + testing.WAIT) == (4401, "token expired")


def connected_with_a_short_token(server: testing.Server) -> tuple[testing.Client, int]:
    """Return a client, and the lifetime of its token in seconds: the shortest that is enough to connect here."""
    for seconds in itertools.accumulate(itertools.repeat(2, 6), operator.mul, initial=1):
        with contextlib.suppress(InvalidStatus):
            return server.connect("/wait", token=server.token(expires=seconds)), seconds
    raise AssertionError("no client connected before its token expired")


@pytest.mark.parametrize(
    ("message", "error"), [(5, "not int"), (None, "not NoneType"), ({"a": 1}, "json.dumps"), (["a"], "not list")]
)
def test_only_str_and_bytes_can_be_sent(gateway: Gateway, message: object, error: str) -> None:
    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        with pytest.raises(TypeError, match=error):
            ws.send(message)
        ws.send("asked")

    with testing.serve(gateway) as server:
        assert server.connect("/").receive() == "asked"


def test_work_in_a_thread_returns_its_result_or_raises_its_error(gateway: Gateway) -> None:
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


def test_identify_returns_a_uid_or_none_or_raises(gateway: Gateway) -> None:
    answers: dict[str, Any] = {"ann": "IDANN", "anonymous": None, "number": 7, "blank": ""}

    @gateway.websocket("/who", identify=lambda environ: answers[environ["HTTP_COOKIE"]])
    def who(ws: Any) -> None:
        ws.send(repr(ws.member and (ws.member.uid, ws.member.role)))
        ws.receive()

    with testing.serve(gateway) as server:
        assert server.connect("/who", cookie="ann").receive() == "('IDANN', '')"
        assert server.connect("/who", cookie="anonymous").receive() == "None"
        for cookie in ("number", "blank", "a KeyError"):
            with pytest.raises(InvalidStatus) as refused:
                server.connect("/who", cookie=cookie)
            assert refused.value.response.status_code == 500
        with pytest.raises(InvalidStatus) as refused:
            server.connect("/who", cookie="ann", origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403


def test_identify_may_verify_a_token_that_a_cookie_has(gateway: Gateway) -> None:
    @gateway.websocket("/who", identify=lambda environ: gateway.verify(environ["HTTP_COOKIE"], environ))
    def who(ws: Any) -> None:
        ws.subscribe("admin.eurusd.sys")
        ws.send(repr(ws.member and (ws.member.uid, ws.member.role)))

    with testing.serve(gateway) as server:
        assert server.connect("/who", cookie=server.token("IDANN", role="admin")).receive() == "('IDANN', 'admin')"
        assert server.connect("/who", cookie="nonsense").closed()[0] == 1008


def test_a_client_authenticates_by_a_message(gateway: Gateway) -> None:
    @gateway.websocket("/orders")
    def orders(ws: Any) -> None:
        ws.authenticate(ws.receive())
        ws.subscribe("order")
        ws.send(f"{ws.member.uid} {ws.member.role}")
        for message in ws:
            ws.authenticate(message)

    with testing.serve(gateway) as server:
        for scheme in ("", "Bearer "):
            ann = server.connect("/orders")
            ann.send(f"{scheme}{server.token('IDANN', role='trader')}")
            assert ann.receive() == "IDANN trader"
            server.publisher.to_member("IDANN", "order", {"id": 1})
            assert ann.json() == {"order": {"id": 1}}
            ann.send(server.token("IDBOB"))
            assert ann.closed() == (1008, "already authenticated")
        for wrong in ("nonsense", b"bytes", ""):
            stranger = server.connect("/orders")
            stranger.send(wrong)
            assert stranger.closed() == (1008, "Authentication failed.")


def test_a_client_is_anonymous_until_its_token_was_verified(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, reached = gateway._shared.look_up, testing._run(gevent.event.Event)

    def redis_is_slow(_uid: str) -> None:
        reached.set()
        gevent.sleep(testing.WAIT)

    @gateway.websocket("/orders")
    def orders(ws: Any) -> None:
        token = ws.receive()
        monkeypatch.setattr(gateway._shared, "look_up", redis_is_slow)
        waiting = gevent.spawn(ws.authenticate, token)
        reached.wait()
        with pytest.raises(ClientError, match="cannot subscribe to order: not authenticated"):
            ws.subscribe("order")
        with pytest.raises(ClientError, match="already authenticated"):
            ws.authenticate(token)
        waiting.kill()
        assert ws.member is None
        monkeypatch.setattr(gateway._shared, "look_up", look_up)
        ws.authenticate(token)
        ws.subscribe("order")
        ws.send(ws.member.uid)
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.connect("/orders")
        ann.send(server.token("IDANN"))
        assert ann.receive() == "IDANN"


def test_a_client_that_authenticates_by_a_message_counts_towards_the_members_limit() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")

    @gateway.websocket("/orders")
    def orders(ws: Any) -> None:
        ws.authenticate(ws.receive())
        ws.send("here")
        ws.receive()

    with testing.serve(gateway) as server:
        first, second = server.connect("/orders"), server.connect("/orders")
        first.send(server.token("IDANN"))
        assert first.receive() == "here"
        second.send(server.token("IDANN"))
        assert second.closed() == (1013, "too many connections of this member")
    assert not gateway._shared.slot_counts, "connections are still counted"


def test_a_connection_keeps_only_the_text_values_of_its_environ() -> None:
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


def test_a_member_identified_by_a_cookie_does_not_expire() -> None:
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


def test_connections_of_both_kinds_count_towards_the_members_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="2")
    full = (1013, "too many connections of this member")
    called: list[str] = []
    claimed: list[str] = []
    monkeypatch.setattr(gateway._shared, "claim_slot", lambda slot: claimed.append(slot.name))

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        called.append(ws.id)
        ws.send("here")
        ws.receive()

    with testing.serve(gateway) as server:
        ann = server.token("IDANN")
        for _ in range(2):
            assert server.connect("/", token=ann).receive() == "here"
        third = server.connect("/", token=ann)
        assert third.closed() == full
        assert len(called) == 2, "the handler was called"
        classic = server.connect("/classic")
        classic.json()  # reads the challenge
        classic.send({"jwt": f"Bearer {ann}"})
        assert classic.closed() == full
        assert server.connect("/private", token=ann).closed() == full
        assert server.connect("/", token=server.token("IDBOB")).receive() == "here"
        assert server.connect("/").receive() == "here", "anonymous connections are counted by address only"
    assert claimed == ["member:IDANN", "member:IDANN", "member:IDBOB"]
    assert not gateway._shared.slot_counts, "connections are still counted"


def test_ended_connection_makes_room_for_its_member() -> None:
    gateway = testing.gateway(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")

    @gateway.websocket("/chat")
    def handler(ws: Any) -> None:
        ws.send("here")
        ws.receive()

    with testing.serve(gateway) as server:
        for _ in range(3):
            with server.connect("/chat", token=server.token("IDANN")) as ann:
                assert ann.receive() == "here"
            with server.member("IDANN"):
                pass


def test_spans_of_a_handler_are_children_of_its_request(gateway: Gateway, exported: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("test")

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        with tracer.start_as_current_span("work"):
            ws.send("done")

    def instrumented(environ: Any, start_response: Any) -> Any:
        with tracer.start_as_current_span("request"):
            return gateway(environ, start_response)

    with testing.serve(instrumented) as server:
        assert server.connect("/").receive() == "done"
    found = {span.name: span for span in exported.get_finished_spans()}
    parent, request = found["work"].parent, found["request"].context
    assert parent is not None
    assert request is not None
    assert parent.span_id == request.span_id
