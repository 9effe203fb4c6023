"""Handlers under the real gunicorn with the real RabbitMQ: what their clients receive, and what others do not."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from peatio_ws.publisher import Publisher
from tests.support.certificate import Certificate
from tests.support.gateway import WAIT, GatewayProcess, Signer, receive
from tests.support.raw_client import CLOSE, PING, PONG, TEXT, Frame, RawClient, close, frame, text
from tests.support.servers import RabbitMQ, wait_until
from tests.support.serving import served

APP = ("gunicorn", "tests.support.apps.handlers_app")
SECRET = "something that only the log should know"


@pytest.fixture(scope="module")
def handlers(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    environ = {"AMQP_URL": broker.url, **signer.environ, "RANGO_RBAC_ADMIN": "admin"}
    process = GatewayProcess(folder, environ, APP)
    yield process
    process.stop()


def bearer(signer: Signer, uid: str = "IDANN", **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {signer.token(uid, **claims)}"}


def closed(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as end:
        client.recv(timeout=WAIT)
    assert end.value.rcvd is not None
    return end.value.rcvd.code, end.value.rcvd.reason


def release(gateway: GatewayProcess, name: str, tls: ssl.SSLContext | None = None) -> None:
    """Let handlers continue that wait for this query."""
    with RawClient(gateway.port, tls=tls) as client:
        answer = client.request({"Upgrade": None, "Connection": "close"}, f"GET /go?{name} HTTP/1.1")
        assert answer.status == 200


def failures(gateway: GatewayProcess) -> int:
    return sum(event["event"] == "handler failed" for event in gateway.events())


@contextlib.contextmanager
def one_traceback(gateway: GatewayProcess) -> Iterator[None]:
    """Check that the block makes a handler fail, which is logged once, with one traceback."""
    before, size = failures(gateway), len(gateway.log())
    yield
    wait_until(lambda: failures(gateway) == before + 1, "the failure in the log")
    said = gateway.log()[size:]
    assert said.count("Traceback") == 1, said
    assert SECRET in said


# ---- handlers of a path


@pytest.mark.parametrize("path", ["echo", "echo/", "echo?stream=order"])
def test_echo_handler(handlers: GatewayProcess, path: str) -> None:
    with handlers.connect(path) as client:
        client.send("grüße")
        assert client.recv(timeout=WAIT) == "grüße"
        client.send(b"\x00\xff")
        assert client.recv(timeout=WAIT) == b"\x00\xff"


@pytest.mark.parametrize("path", ["echo/more", "Echo", "", "public"])
def test_other_paths_serve_peatios_protocols(handlers: GatewayProcess, path: str) -> None:
    with handlers.connect(path) as client:
        assert set(receive(client)) & {"challenge", "success"}


def test_application_answers_other_requests(handlers: GatewayProcess) -> None:
    with urllib.request.urlopen(handlers.url.replace("ws:", "http:") + "echo", timeout=WAIT) as answer:
        assert answer.read() == b"legacy /echo"


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("return", (1000, "")),
        ("close", (4001, "as you wish")),
        ("disconnect", (4002, "go away")),
        ("refuse", (1008, "not like this")),
        ("send late", (1000, "")),
    ],
)
def test_handlers_end_closes_the_connection(handlers: GatewayProcess, said: str, end: tuple[int, str]) -> None:
    before = failures(handlers)
    with handlers.connect("ends") as client:
        client.send(said)
        assert closed(client) == end
    assert failures(handlers) == before


@pytest.mark.parametrize("said", ["raise", "exit"])
def test_failing_handler_closes_with_1011_and_is_logged(handlers: GatewayProcess, said: str) -> None:
    with handlers.connect("echo") as other, one_traceback(handlers), handlers.connect("ends") as client:
        client.send(said)
        assert closed(client) == (1011, "internal error")
        other.send("still there?")
        assert other.recv(timeout=WAIT) == "still there?"


def test_gevent_timeout_in_a_handler_counts_as_a_failure(handlers: GatewayProcess) -> None:
    before = failures(handlers)
    with handlers.connect("ends") as client:
        client.send("timeout")
        assert closed(client)[0] == 1011
    wait_until(lambda: failures(handlers) == before + 1, "the failure in the log")


def test_receive_timeout_loses_no_message(handlers: GatewayProcess) -> None:
    with RawClient(handlers.port) as client:
        whole = text("late, and in two pieces")
        client.upgrade("/patient").send(whole[:10])
        assert client.next() == Frame(TEXT, b"nothing came")
        client.send(whole[10:])
        assert client.next() == Frame(TEXT, b"late, and in two pieces")


def test_endless_sender_is_slowed_to_its_clients_pace(handlers: GatewayProcess) -> None:
    with handlers.connect("endless", max_size=None) as client:
        for _ in range(64):
            assert len(client.recv(timeout=WAIT)) == 262_144
        assert closed(client) == (1000, "")


def test_token_identifies_its_member_and_invalid_ones_are_refused(handlers: GatewayProcess, signer: Signer) -> None:
    with handlers.connect("member?a=b", additional_headers=bearer(signer, member_id=7)) as client:
        assert client.recv(timeout=WAIT) == "IDANN 7 a=b"
    with handlers.connect("member") as client:
        assert closed(client) == (1008, "Not authenticated.")
    with pytest.raises(InvalidStatus) as refused, handlers.connect("member", additional_headers=bearer(Signer())):
        pass
    assert refused.value.response.status_code == 401


def test_handler_subscribes_its_connection_to_streams(
    handlers: GatewayProcess, signer: Signer, broker: RabbitMQ
) -> None:
    with (
        handlers.connect("member", additional_headers=bearer(signer)) as client,
        handlers.connect("member", additional_headers=bearer(signer, "IDBOB", role="admin")) as admin,
        Publisher(broker.url) as publisher,
    ):
        assert client.recv(timeout=WAIT) == "IDANN None "
        assert admin.recv(timeout=WAIT) == "IDBOB None "
        for names, answer in [
            ("order deposit", "subscribed to order deposit"),
            ("btcusd.trades ethusd.ob-inc", "subscribed to btcusd.trades ethusd.ob-inc"),
            ("admin.eurusd.sys", "cannot subscribe to admin.eurusd.sys"),
            ("a b.c.d.e", "cannot subscribe to b.c.d.e"),
            (" ".join(f"m{number}.trades" for number in range(200)), "too many streams: a connection has 200 at most"),
        ]:
            client.send(names)
            assert client.recv(timeout=WAIT) == answer
        admin.send("admin.eurusd.sys")
        assert admin.recv(timeout=WAIT) == "subscribed to admin.eurusd.sys"
        assert publisher.to_member("IDBOB", "deposit", {"of": "somebody else"})
        assert publisher.to_member("IDANN", "deposit", b'{"amount": 1.50}')
        assert client.recv(timeout=WAIT) == '{"deposit":{"amount": 1.50}}'
        assert publisher.to_stream("btcusd.trades", [1])
        assert client.recv(timeout=WAIT) == '{"btcusd.trades":[1]}'
        assert publisher.to_stream("ethusd.ob-snap", {"asks": [["2", "1"]], "bids": [], "sequence": 1})
        assert receive(client)["ethusd.ob-snap"]["sequence"] == 1
        assert publisher.to_stream("admin.eurusd.sys", {})
        assert admin.recv(timeout=WAIT) == '{"eurusd.sys":{}}'


def test_pings_and_disconnects_are_handled_while_a_handler_waits(handlers: GatewayProcess) -> None:
    with RawClient(handlers.port) as client:
        client.upgrade("/slow?pinged")
        assert client.next() == Frame(TEXT, b"slow")
        client.send(text("a message for later"), frame(PING, b"there?"))
        assert client.next() == Frame(PONG, b"there?")
        release(handlers, "pinged")
        assert client.next() == Frame(TEXT, b"awake")
        assert client.closed() == (1000, "")
    with RawClient(handlers.port) as client:
        client.upgrade("/slow?closed")
        assert client.next() == Frame(TEXT, b"slow")
        client.send(close(1000))
        assert client.next() == Frame(CLOSE, b"\x03\xe8"), "the close frame waited for the handler"
        release(handlers, "closed")


def test_handlers_over_tls(start: Callable[..., GatewayProcess], folder: Path) -> None:
    made = Certificate(folder / "handlers-tls")
    gateway = start(APP, WEBSOCKET_SSL_KEY=str(made.key), WEBSOCKET_SSL_CERT=str(made.cert))
    with RawClient(gateway.port, tls=made.trusted()) as client:
        client.upgrade("/slow?pinged")
        assert client.next() == Frame(TEXT, b"slow")
        client.send(text("a message for later"), frame(PING, b"there?"))
        assert client.next() == Frame(PONG, b"there?")
        release(gateway, "pinged", made.trusted())
        assert client.next() == Frame(TEXT, b"awake")
        assert client.closed() == (1000, "")


def test_pings_limits_origin_and_drain_apply_to_handlers(start: Callable[..., GatewayProcess]) -> None:
    gateway = start(
        APP,
        WEBSOCKET_PING_INTERVAL="0.5",
        WEBSOCKET_PING_TIMEOUT="5",
        WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="3",
        WEBSOCKET_MAX_MESSAGE_BYTES="1000",
    )
    with RawClient(gateway.port) as silent:
        silent.upgrade("/echo")
        while (found := silent.next()) == Frame(PING, b""):
            pass
        assert found is not None
        assert int.from_bytes(found.payload[:2]) == 4408
    with RawClient(gateway.port) as elsewhere:
        answer = elsewhere.request({"Origin": "https://elsewhere.example"}, "GET /echo HTTP/1.1")
        assert answer.status == 403
    began = time.monotonic()
    with (
        gateway.connect("slow?limits") as slow,
        gateway.connect("echo") as echo,
        RawClient(gateway.port) as long,
        RawClient(gateway.port) as fourth,
    ):
        long.upgrade("/echo").send(text("x" * 1001))
        while (found := long.next()) == Frame(PING, b""):
            pass
        assert found is not None
        assert int.from_bytes(found.payload[:2]) == 1009
        wait_until(
            lambda: gateway.metric('peatio_ws_closes_total{by="gateway",code="1009"}') == 1, "that connection has ended"
        )
        with gateway.connect("echo"):
            assert fourth.request(line="GET /echo HTTP/1.1").status == 429
        assert slow.recv(timeout=WAIT) == "slow"
        wait_until(lambda: time.monotonic() - began > 6, "more than the ping timeout")
        release(gateway, "limits")
        assert slow.recv(timeout=WAIT) == "awake", "the client of a waiting handler was disconnected"
        assert gateway.process is not None
        gateway.process.terminate()
        assert closed(echo)[0] == 1012
    assert gateway.process.wait(WAIT) == 0


# ---- handlers of client events


def ask(client: ClientConnection, event: str, **fields: Any) -> Any:
    client.send(json.dumps({"event": event, **fields}))
    return receive(client)


def test_handler_knows_the_sender_of_a_message(handlers: GatewayProcess, signer: Signer) -> None:
    with handlers.member(signer.token("IDANN", member_id=3)) as ann:
        answer = ask(ann, "who", id=5)
        assert answer == {"who": ["IDANN", 3, "member", "127.0.0.1"], "said": {"event": "who", "id": 5}}
        ann.send('{"event":"bytes"}')
        assert ann.recv(timeout=WAIT) == '{"digits": 1.50}'


def test_errors_use_the_clients_protocol_and_keep_the_connection(handlers: GatewayProcess) -> None:
    with handlers.connect() as classic, handlers.connect("public") as ranger:
        assert "challenge" in receive(classic)
        assert "success" in receive(ranger)
        assert ask(classic, "who") == {"error": {"message": "Not authenticated."}}
        assert ask(ranger, "who") == {"error": "Not authenticated."}
        assert ask(classic, "refuse") == {"error": {"message": "no such order"}}
        assert ask(ranger, "refuse") == {"error": "no such order"}
        with one_traceback(handlers):
            assert ask(classic, "raise") == {"error": {"message": "Error while handling message."}}
        with one_traceback(handlers):
            assert ask(ranger, "thread raises") == {"error": "Error while handling message"}
        assert ask(classic, "nobody's") == {"error": {"message": "Error while handling message."}}
        assert ask(ranger, "nobody's") == {"error": "Could not parse Type: Invalid event"}
        assert ask(classic, "bytes") == {"digits": 1.5}
        ranger.send('{"event":"leave"}')
        assert closed(ranger) == (4003, "enough")


def test_waiting_handler_keeps_message_order_and_events_flowing(
    handlers: GatewayProcess, signer: Signer, broker: RabbitMQ
) -> None:
    with handlers.member(signer.token("IDANN")) as ann, Publisher(broker.url) as publisher:
        for message in ({"event": "wait", "for": "an-event"}, {"event": "bytes"}, {"event": "wait", "for": "an-event"}):
            ann.send(json.dumps(message))
        assert publisher.to_member("IDANN", "order", {"id": 5})
        assert receive(ann)["orderbook"]["id"] == 5
        release(handlers, "an-event")
        waited = {"waited": "an-event"}
        assert [receive(ann), receive(ann), receive(ann)] == [waited, {"digits": 1.5}, waited]


def test_views_and_handlers_can_push(handlers: GatewayProcess, signer: Signer) -> None:
    headers = bearer(signer)
    with (
        handlers.member(signer.token("IDANN")) as ann,
        handlers.connect("private?stream=btcusd.trades", additional_headers=headers) as ranger,
    ):
        receive(ranger)
        with urllib.request.urlopen(handlers.url.replace("ws:", "http:") + "push", timeout=WAIT) as answer:
            assert answer.read() == b"True"
        assert receive(ann)["orderbook"]["id"] == 77
        ann.send('{"event":"push","body":{"price":"1.50"}}')
        assert receive(ann) == {"taken": True}
        assert ranger.recv(timeout=WAIT) == '{"btcusd.trades":{"price":"1.50"}}'


def test_waiting_failing_or_computing_handler_delays_no_other_client(handlers: GatewayProcess) -> None:
    """Other clients are answered before these handlers end. `bench.handlers` measures the latency."""
    with contextlib.ExitStack() as stack:
        busy = []
        for event in ("wait", "compute", "raise"):
            busy.append(stack.enter_context(handlers.connect("public")))
            receive(busy[-1])
            busy[-1].send(json.dumps({"event": event, "for": "others", "where": "thread"}))
        assert "error" in receive(busy.pop())  # the first two have begun before
        other = stack.enter_context(handlers.connect("echo"))
        for _ in range(50):
            other.send("x")
            assert other.recv(timeout=WAIT) == "x"
        release(handlers, "others")
        assert [receive(client) for client in busy] == [{"waited": "others"}, {"computed": "thread"}]


def test_handler_can_use_threads_asyncio_programs_and_processes(handlers: GatewayProcess) -> None:
    with handlers.connect("tools") as client:
        assert [client.recv(timeout=WAIT) for _ in range(4)] == ["thread", "asyncio", "program", "process"]


def test_handler_that_blocks_the_loop_is_logged_with_its_stack(handlers: GatewayProcess) -> None:
    def named() -> list[dict[str, Any]]:
        return [event for event in handlers.events() if "event loop blocked" in event["event"]]

    with handlers.connect("public") as client:
        receive(client)
        assert ask(client, "compute", seconds=0.4, where="thread") == {"computed": "thread"}
        assert not [event for event in named() if "in compute\n" in event["stack"]]
        assert ask(client, "compute", seconds=0.4, where="loop") == {"computed": "loop"}
        wait_until(lambda: any("in compute\n" in event["stack"] for event in named()), "the handler's name in the log")
        (event,) = [event for event in named() if "in compute\n" in event["stack"]]
        assert "burn(message" in event["stack"]
        assert event["place"].rpartition(":")[0].endswith("handlers_app.py")


# ---- applications that use environ["wsgi.websocket"] themselves


def test_application_without_gateway_has_pings_deadlines_and_close(folder: Path) -> None:
    limits = {"WEBSOCKET_PING_INTERVAL": "0.5", "WEBSOCKET_PING_TIMEOUT": "2"}
    with served(folder, "examples.echo", **limits) as echo, RawClient(echo.port) as silent:
        silent.upgrade()
        assert silent.next() == Frame(PING, b"")
        while (found := silent.next()) == Frame(PING, b""):
            pass
        assert found is not None
        assert int.from_bytes(found.payload[:2]) == 4408
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(echo.connect())
            client.send("hello")
            assert client.recv(timeout=WAIT) == "hello"
            assert echo.process is not None
            echo.process.terminate()
            assert closed(client)[0] == 1012
            assert echo.process.wait(WAIT) == 0
