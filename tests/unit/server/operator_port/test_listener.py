"""The operator's port over real sockets: no request blocks it forever, and fast clients are served."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from peatio_ws import testing
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server import listen_addresses
from peatio_ws.server.operator_port import health, listener
from tests.support.raw_client import WAIT, RawClient
from tests.support.servers import wait_until
from tests.unit.samples import settings

ASK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of an operator's server in this process."""
    listener.bind(settings(METRICS_PORT="0"))
    assert listener._listener is not None
    testing._run(listener.serve)
    try:
        yield listener._listener.getsockname()[1]
    finally:
        assert listener._server is not None
        testing._run(listener._server.stop)
        listener._listener.close()
        listener._listener = listener._server = None


def test_the_next_master_listens_on_the_same_socket(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, environ = listener._listener, dict[str, str]()
    assert first is not None
    listener.hand_over(environ)
    assert first.get_inheritable()
    monkeypatch.setenv(listener.INHERITED, environ[listener.INHERITED])
    listener.bind(settings(METRICS_PORT=str(port)))  # in use: cannot be bound again
    second = listener._listener
    assert second is not None
    assert second is not first
    assert second.getsockname() == first.getsockname()
    assert listener.INHERITED not in os.environ, "workers and their programs would inherit it"
    second.detach()
    listener._listener = first


def test_port_that_is_left_is_free_and_open_requests_are_answered() -> None:
    listener.bind(settings(METRICS_PORT="0"))
    assert listener._listener is not None
    port = listener._listener.getsockname()[1]
    testing._run(listener.serve)
    with RawClient(port) as client:
        assert ask(client) == 200
        client.send(ASK[:9])
        testing._run(listener.leave)
        testing._run(listener.leave)
        listen_addresses.bind_socket("127.0.0.1", port).close()
        assert ask(client, ASK[9:]) == 200
        client.ended()


def test_ending_worker_leaves_the_port_only_if_others_answer_there(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a kept connection of a load balancer would learn of its drain, although new workers serve."""
    monkeypatch.setattr(listener, "_is_last", bytearray(1))
    server, bound = listener._server, listener._listener
    with RawClient(port) as client:
        assert ask(client) == 200
        listener.announce(last=True)
        testing._run(listener.leave_to_others)
        assert ask(client) == 200
        listener.announce(last=False)
        testing._run(listener.leave_to_others)
        client.ended()
    assert server is not None
    assert server.closed
    assert listener._server is listener._listener is None
    listener._server, listener._listener = server, bound  # for the fixture


def reached(limit: Limit) -> float:
    return metrics.limits_reached.labels(limit)._value.get()


def ask(client: RawClient, request: bytes = ASK) -> int:
    client.send(request)
    return client.answer().status


@pytest.mark.parametrize(
    "sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"]
)
def test_half_a_request_ends_within_the_limit(port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.OperatorHandler, "request_seconds", 0.3)
    before = reached(Limit.REQUEST_TIME)
    with RawClient(port) as client:
        client.send(sent)
        client.ended()
    wait_until(lambda: reached(Limit.REQUEST_TIME) == before + 1, "counted")


def test_half_a_body_ends_within_the_limit(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.OperatorHandler, "request_seconds", 0.3)
    with RawClient(port) as client:
        assert ask(client, b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf") == 200
        client.ended()


def test_a_connection_is_kept_open_for_a_while_only(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.OperatorHandler, "request_seconds", 0.3)
    monkeypatch.setattr(listener.OperatorHandler, "idle_seconds", 1.5)
    before = reached(Limit.REQUEST_TIME)
    with RawClient(port) as client:
        assert ask(client) == 200
        assert ask(client) == 200
        client.ended()
        assert reached(Limit.REQUEST_TIME) == before, "the connection was closed although it sent requests"
    with RawClient(port) as client:
        assert ask(client) == 200
        client.send(b"GET /hea")
        client.ended()
    wait_until(lambda: reached(Limit.REQUEST_TIME) == before + 1, "half a second request is counted")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + (b"A: " + b"x" * 8000 + b"\r\n") * 5 + b"\r\n", 431),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65_537, 413),
        (b"POST /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
    ],
)
def test_too_large_request_is_answered_with_its_status(port: int, request_: bytes, status: int) -> None:
    before = reached(Limit.REQUEST_SIZE)
    with RawClient(port) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        assert ask(client, request_) == status
        client.ended()
    assert reached(Limit.REQUEST_SIZE) == before + 1


def test_too_large_body_is_answered_with_a_text(port: int) -> None:
    with RawClient(port) as client:
        client.send(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n")
        assert client.answer().body == b'{"error":"the body is chunked, or has more than 65,536 bytes"}'


def test_connections_without_requests_do_not_block_scrapers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without time limits, so that on a slow machine only the limit of pending requests ends connections.
    monkeypatch.setattr(listener.OperatorHandler, "request_seconds", 2 * WAIT)
    monkeypatch.setattr(listener, "ROOM_SECONDS", WAIT)
    before = reached(Limit.PENDING)
    with contextlib.ExitStack() as crowd:
        for _ in range(listener.MOST_CONNECTIONS * 3):
            crowd.enter_context(RawClient(port)).send(b"GET /metrics HTTP/1.1\r\nHos")
        for _ in range(5):
            with RawClient(port) as client:
                assert ask(client) == 200
        closed = 2 * listener.MOST_CONNECTIONS
        wait_until(lambda: reached(Limit.PENDING) >= before + closed, "the rest of the crowd is disconnected")
        assert len(listener.OperatorHandler.idle) <= listener.MOST_CONNECTIONS + 1


def test_slow_reader_is_disconnected(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.OperatorHandler, "send_seconds", 0.3)
    monkeypatch.setattr(health, "_scrapes", health.Scrapes(lambda: b"x" * 20_000_000))
    before = reached(Limit.ANSWER_TIME)
    with RawClient(port, receive_buffer=4096) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: reached(Limit.ANSWER_TIME) == before + 1, "the connection is closed")


def test_beyond_the_limit_the_answer_is_503(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener.OperatorHandler, "send_seconds", 2 * WAIT)
    monkeypatch.setattr(listener, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(listener, "ROOM_SECONDS", 0.1)
    monkeypatch.setattr(health, "_scrapes", health.Scrapes(lambda: b"x" * 20_000_000))
    before = reached(Limit.OPERATORS_CONNECTIONS)
    with contextlib.ExitStack() as crowd:
        for number in range(3):
            client = crowd.enter_context(RawClient(port, receive_buffer=4096))
            client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda number=number: _answering() == number + 1, "the answer has begun")  # type: ignore[misc]
        with RawClient(port) as client:
            assert ask(client) == 503
        assert reached(Limit.OPERATORS_CONNECTIONS) == before + 1
    wait_until(lambda: listener._server is not None and not listener._server._connections, "all connections have ended")
    with RawClient(port) as client:
        assert ask(client) == 200


def _answering() -> int:
    """Return the connections whose answer is being sent."""
    assert listener._server is not None
    return listener._server._connections - len(listener.OperatorHandler.idle)
