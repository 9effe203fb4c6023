"""Handshakes, frames, their limits and the closing handshake, on real sockets under the real gunicorn."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peatio_ws.transport.outbox import CLOSE_SECONDS
from tests.support.gateway import GatewayProcess, Signer
from tests.support.raw_client import BINARY, CLOSE, CONT, PING, PONG, TEXT, WAIT, Frame, RawClient, close, frame, text
from tests.support.servers import RabbitMQ, wait_until
from tests.support.serving import NO_BEARER, gateway_client, served, without_end


@pytest.fixture(scope="module")
def echo(folder: Path) -> Iterator[RawClient]:
    with served(folder, "examples.echo") as process:
        yield process


@pytest.fixture(scope="module")
def hasty(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    """A gateway that waits one second for the rest of a request."""
    environ = {"AMQP_URL": broker.url, **signer.environ, "WEBSOCKET_HANDSHAKE_TIMEOUT": "1"}
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


@pytest.fixture
def client(echo: GatewayProcess) -> Iterator[RawClient]:
    """A client that has been upgraded, at the echo service."""
    with RawClient(echo.port) as client:
        yield client.upgrade()


def assert_serves(gateway: GatewayProcess) -> None:
    """Check that another client is still answered at once."""
    with RawClient(gateway.port) as client:
        client.upgrade().send(frame(PING, b"still there?"))
        while (found := client.next()) != Frame(PONG, b"still there?"):
            assert found is not None


# ---- the opening handshake


@pytest.mark.parametrize(
    ("status", "line", "headers"),
    [
        (400, "GET / HTTP/1.1", {"Sec-WebSocket-Key": None}),
        (400, "GET / HTTP/1.1", {"Sec-WebSocket-Key": "c2hvcnQ="}),
        (400, "GET / HTTP/1.1", {"Sec-WebSocket-Key": "!" * 24}),
        (400, "GET / HTTP/1.1", {"Connection": "keep-alive"}),
        (400, "GET / HTTP/1.1", {"Host": None}),
        (403, "GET / HTTP/1.1", {"Origin": "https://elsewhere.example"}),
        (405, "POST / HTTP/1.1", {}),
        (426, "GET / HTTP/1.0", {}),
        (426, "GET / HTTP/1.1", {"Sec-WebSocket-Version": "8"}),
        (426, "GET / HTTP/1.1", {"Sec-WebSocket-Version": None}),
        (426, "GET / HTTP/1.1", {"Upgrade": None}),
        (426, "GET / HTTP/1.0", {"Upgrade": None, "Connection": None}),
    ],
)
def test_a_bad_upgrade_is_answered_with_a_status_and_a_body(
    gateway: GatewayProcess, status: int, line: str, headers: dict[str, str | None]
) -> None:
    with RawClient(gateway.port) as client:
        answer = client.request(headers, line)
        assert answer.status == status
        assert answer.body.strip()
        assert len(answer.body) == int(answer.headers["content-length"])
        if headers.get("Sec-WebSocket-Version", "13") != "13":
            assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("line", ["GET / HTTP/one", "this is no request", "GET"])
def test_invalid_request_is_answered_and_closed(gateway: GatewayProcess, line: str) -> None:
    with RawClient(gateway.port) as client:
        assert client.request(line=line).status == 400
        client.ended()


def test_invalid_request_is_logged_without_its_content(gateway: GatewayProcess) -> None:
    with RawClient(gateway.port) as client:
        assert client.request(line="GET /public?stream=secret-of-somebody HTTP/2.0").status == 400
    with RawClient(gateway.port) as client:
        client.send(b"GET /public?stream=secret-of-somebody HTTP/1.1\r\nHost: x\r\nX: ")
        client.reset()
    with RawClient(gateway.port) as client:
        client.upgrade()  # is logged after them
    reasons = [event["reason"] for event in gateway.events() if event["event"] == "request cannot be read"]
    assert "invalid request line" in reasons
    assert "secret-of-somebody" not in gateway.log()
    assert not gateway.tracebacks()


def test_content_length_of_an_upgrade_is_ignored(gateway: GatewayProcess) -> None:
    with RawClient(gateway.port) as client:
        assert client.request({"Content-Length": "100"}, along=frame(PING, b"x")).status == 101
        assert "challenge" in client.json()
        assert client.next() == Frame(PONG, b"x")
        client.send(close(1000))
        assert client.closed() == (1000, "")
        client.ended()
    assert not gateway.tracebacks()


def test_an_application_may_refuse_an_upgrade_with_http(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:refuses") as app, RawClient(app.port) as client:
        answer = client.request()
        assert (answer.status, answer.body) == (403, b"no\n")


def test_frames_sent_along_with_the_handshake_are_not_lost(gateway: GatewayProcess) -> None:
    with RawClient(gateway.port) as client:
        client.upgrade(along=text({"jwt": "x"}) + frame(PING, b"early"))
        assert "challenge" in client.json()
        assert client.json() == NO_BEARER
        assert client.next() == Frame(PONG, b"early")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs"])
def test_half_a_request_ends_within_the_limit(hasty: GatewayProcess, sent: bytes) -> None:
    began = time.monotonic()
    with RawClient(hasty.port) as client:
        client.send(sent)
        client.ended()
    assert time.monotonic() - began > 0.5, "the request ended too early"
    assert not hasty.tracebacks()


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 2000),
        (b"", b"GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200),
    ],
)
def test_endless_requests_delay_no_other_client(folder: Path, first: bytes, more: bytes) -> None:
    with served(folder, "tests.support.apps.apps:legacy") as app, RawClient(app.port) as flood:
        flood.send(first)
        with without_end(flood, more):
            for _ in range(5):
                with RawClient(app.port) as client:
                    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert client.answer().status == 200


@pytest.mark.parametrize("end", [b"0\r\n@", b"0\r\na", b"x", b"1\r\nxx"])
def test_body_with_a_broken_end_is_cut_within_the_limit(hasty: GatewayProcess, end: bytes) -> None:
    with RawClient(hasty.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + end)
        assert client.answer().status == 426
        client.ended()
    with RawClient(hasty.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        client.finish()
        assert client.answer().status == 426
    assert not hasty.tracebacks()


def test_half_a_body_ends_within_the_limit(hasty: GatewayProcess) -> None:
    with RawClient(hasty.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        assert client.answer().status == 426
        client.ended()


# ---- frames


def test_text_binary_fragments_and_pings_are_echoed(client: RawClient) -> None:
    client.send(text("grüße"), frame(BINARY, b"\x00\xff"))
    assert client.next() == Frame(TEXT, "grüße".encode())
    assert client.next() == Frame(BINARY, b"\x00\xff")
    first, second = "zwei ä".encode()[:-1], "zwei ä".encode()[-1:]
    client.send(frame(TEXT, first, fin=False), frame(PING, b"between"), frame(CONT, second))
    assert client.next() == Frame(PONG, b"between"), "the pong waited for the rest of a message"
    assert client.next() == Frame(TEXT, first + second)
    client.send(text("before"), frame(PING, b"after"))
    assert client.next() == Frame(TEXT, b"before"), "answers are out of order"
    assert client.next() == Frame(PONG, b"after")
    large = os.urandom(12_288)
    client.send(frame(BINARY, large))
    assert client.next() == Frame(BINARY, large)


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        pytest.param(1002, frame(TEXT, b"x", mask=False), id="unmasked"),
        *[pytest.param(1002, frame(TEXT, b"x", reserved=bits), id=f"reserved bits {bits}") for bits in (1, 2, 4)],
        *[pytest.param(1002, frame(opcode), id=f"opcode {opcode}") for opcode in (3, 7, 11, 15)],
        *[pytest.param(1002, frame(opcode, fin=False), id=f"fragmented {opcode}") for opcode in (8, PING, PONG)],
        pytest.param(1002, frame(PING, b"x" * 126), id="long ping"),
        pytest.param(1002, frame(CONT, b"x"), id="continues nothing"),
        pytest.param(1002, frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), id="text within a message"),
        pytest.param(1002, frame(8, b"\x03"), id="half a close code"),
        pytest.param(1002, close(1005), id="forbidden close code"),
        pytest.param(1007, frame(TEXT, b"\xff"), id="no UTF-8"),
        pytest.param(1007, frame(TEXT, "ä".encode()[:1]), id="half a character"),
        pytest.param(
            1007, frame(TEXT, "ä".encode()[:1], fin=False) + frame(CONT, b"x"), id="no UTF-8 across fragments"
        ),
        pytest.param(1007, frame(TEXT, b"\xff") + close(1000), id="no UTF-8, then closed"),
        pytest.param(1007, frame(8, b"\x03\xe8\xff"), id="close reason no UTF-8"),
        pytest.param(1009, frame(TEXT, b"", length=2**30), id="header announces 1 GiB"),
        pytest.param(1009, frame(TEXT, b"x" * 16_385), id="one byte too long"),
        pytest.param(1009, (frame(TEXT, b"x" * 9000, fin=False) + frame(CONT, b"y" * 9000)), id="fragments too long"),
    ],
)
def test_faulty_frame_closes_with_its_code_after_earlier_answers(client: RawClient, code: int, sent: bytes) -> None:
    client.send(text("before"), sent)
    assert client.next() == Frame(TEXT, b"before")
    assert client.closed()[0] == code
    assert client.ended() < CLOSE_SECONDS, "the server waited for the client after a fault"


def test_a_message_of_exactly_the_limit_passes(client: RawClient) -> None:
    client.send(text("x" * 16_384))
    assert client.next() == Frame(TEXT, b"x" * 16_384)


# ---- closing


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0b\xb9" + "tschüß".encode()])
@pytest.mark.parametrize("before", [b"", frame(TEXT, b"half", fin=False)], ids=["", "within a message"])
def test_a_close_is_echoed_with_its_code_and_ends_the_connection(
    client: RawClient, before: bytes, payload: bytes
) -> None:
    client.send(before, frame(CLOSE, payload))
    assert client.next() == Frame(CLOSE, payload)
    assert client.ended() < CLOSE_SECONDS


def test_returning_handler_closes_with_1000(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:returns") as app, RawClient(app.port) as client:
        client.upgrade()
        assert client.next() == Frame(TEXT, b"hello")
        assert client.closed() == (1000, "")
        client.send(close(1000))
        client.ended()
        assert not app.tracebacks()


def test_raising_handler_closes_with_1011_and_is_logged(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:raises") as app, RawClient(app.port) as client:
        client.upgrade().send(text("go"))
        assert client.closed() == (1011, "internal error")
        client.send(close(1011))
        assert client.ended() < CLOSE_SECONDS
        wait_until(lambda: "something that only the log should know" in app.log(), "the exception in the log")


def test_exception_answered_by_a_framework_closes_with_1011(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:answers_500") as app, RawClient(app.port) as client:
        client.upgrade()
        assert client.next() == Frame(TEXT, b"hello")
        assert client.closed() == (1011, "internal error")
        client.send(close(1011))
        assert client.ended() < CLOSE_SECONDS


def test_handler_can_close_with_its_own_code(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:disconnects") as app, RawClient(app.port) as client:
        assert client.upgrade().closed() == (4000, "go away")
        client.send(close(4000))
        assert client.ended() < CLOSE_SECONDS


def test_handlers_written_for_gevent_websocket_work(folder: Path) -> None:
    with served(folder, "tests.support.apps.apps:legacy") as app:
        with RawClient(app.port) as client:
            client.upgrade().send(text("a"), frame(BINARY, b"b"), text("close"))
            assert client.next() == Frame(TEXT, b"a")
            assert client.next() == Frame(BINARY, b"b")
            assert client.closed() == (4000, "as you wish")
            client.send(close(4000))
            client.ended()
        with RawClient(app.port) as client:
            client.upgrade().send(close(1000))
            assert client.closed() == (1000, "")
        with RawClient(app.port) as client:
            seen = json.loads(client.request({"Upgrade": None, "Connection": "close"}).body)
    assert seen == ["'a'", "b'b'", "'close'", "closed=True", "WebSocketError", "None"]


def test_a_client_that_never_answers_a_close_is_cut(gateway: GatewayProcess) -> None:
    with gateway_client(gateway) as client:
        client.send(frame(BINARY, b"x"))
        assert client.closed() == (1003, "binary messages are not understood here")
        client.ended()


def test_flooding_client_delays_no_other_client(gateway: GatewayProcess) -> None:
    with gateway_client(gateway) as flood:
        failed = threading.Event()
        burst = frame(PONG, b"x" * 125) * 8000

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(100_000):
                    flood.send(burst)
            failed.set()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(5):
                assert_serves(gateway)
            # Other clients are served even while the flooding connection is being closed.
            assert flood.closed() == (1008, "too many frames")
            for _ in range(5):
                assert_serves(gateway)
            assert failed.wait(CLOSE_SECONDS + WAIT), "the flooding client was not disconnected"
        finally:
            flood.drop()
            thread.join(WAIT)
