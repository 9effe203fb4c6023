"""Requests that never become complete, plain and over TLS, are bounded in number and size; honest clients get in."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.pywsgi import MAX_REQUEST_LINE
from gevent.ssl import SSLContext

from peatio_ws import testing
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server.gunicorn.server import Server
from peatio_ws.transport.http import request_handler
from peatio_ws.transport.websocket_handler import Handler
from tests.support.certificate import Certificate
from tests.support.raw_client import WAIT, RawClient
from tests.support.servers import wait_until
from tests.unit.samples import settings

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST = 8
CROWD = 40
LARGE_BYTES = 32 * 1024 * 1024
"""More bytes than the buffers of two sockets hold."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


class Served:
    """The gateway's port, as a worker serves it.

    Args:
        tls: the server's context; None for a plain port.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        options = {} if tls is None else {"ssl_context": tls}
        self.server = Server(("127.0.0.1", 0), _answer, handler_class=Handler, log=None, **options)
        self.server.start()
        self.port: int = self.server.server_port

    def stop(self) -> None:
        self.server.stop(timeout=WAIT)
        Server.running.remove(self.server)


def _answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = b"x" * LARGE_BYTES if environ["PATH_INFO"] == "/large" else b"yes"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture(params=["plain", "TLS"])
def served(request: pytest.FixtureRequest, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server and its clients' TLS context."""
    monkeypatch.setattr(Handler, "most_pending", MOST)
    monkeypatch.setattr(Handler, "grace", 0.0)
    tls = None
    if request.param == "TLS":
        tls = SSLContext(ssl.PROTOCOL_TLS_SERVER)  # gevent's module: nothing is patched here
        tls.load_cert_chain(certificate.cert, certificate.key)
    found = testing._run(lambda: Served(tls))
    try:
        yield found, certificate.trusted() if tls else None
    finally:
        testing._run(found.stop)


def reached(limit: Limit) -> float:
    return float(metrics.limits_reached.labels(limit.value)._value.get())


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"])
def test_pending_connections_are_bounded_and_lock_no_client_out(served: Any, sent: bytes) -> None:
    server, tls = served
    before = reached(Limit.PENDING)
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(RawClient(server.port, tls)).send(sent)

        def honest_client_is_served_and_crowd_is_small() -> bool:
            with RawClient(server.port, tls) as client:
                client.send(ASK)
                assert client.answer().status == 200
            return len(Handler.idle) <= MOST + 1 and reached(Limit.PENDING) >= before + CROWD - MOST - 1

        # Connections with unread bytes are not closed. Which those are depends on when the server reads.
        wait_until(honest_client_is_served_and_crowd_is_small, "the oldest were closed")


def test_new_connection_is_not_closed_first(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, tls = served
    monkeypatch.setattr(Handler, "grace", WAIT)
    before = reached(Limit.PENDING)
    with contextlib.ExitStack() as slow:
        clients = [slow.enter_context(RawClient(server.port, tls)) for _ in range(2 * MOST)]
        for client in clients:
            client.send(ASK[:9])
        for client in clients:
            client.send(ASK[9:])
            assert client.answer().status == 200
    assert reached(Limit.PENDING) == before


def test_tls_handshakes_that_never_end_are_bounded(served: Any) -> None:
    """The clients of the TLS port send nothing, or half of a handshake."""
    server, tls = served
    before = reached(Limit.PENDING)
    with contextlib.ExitStack() as crowd:
        for number in range(CROWD):
            crowd.enter_context(RawClient(server.port)).send(b"\x16\x03\x01\x02\x00\x01" if number % 2 and tls else b"")
        with RawClient(server.port, tls) as client:
            client.send(ASK)
            assert client.answer().status == 200
        wait_until(lambda: reached(Limit.PENDING) >= before + CROWD - MOST - 1, "the oldest were closed")


def test_rush_of_honest_clients_loses_no_connection(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients have sent their request before the worker reads the first one."""
    server, tls = served
    if tls is not None:
        monkeypatch.setattr(Handler, "grace", WAIT)  # with TLS the worker also waits for each client's handshake
    before = reached(Limit.PENDING)
    busy, over = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        over.wait(WAIT)  # the loop is blocked

    holder = threading.Thread(target=testing._run, args=(hold,))
    holder.start()
    assert busy.wait(WAIT)
    asked, answers = threading.Semaphore(0), list[int]()

    def ask() -> None:
        with RawClient(server.port) as waiting:
            asked.release()
            waiting.encrypt(tls)
            waiting.send(ASK)
            answers.append(waiting.answer().status)

    clients = [threading.Thread(target=ask) for _ in range(CROWD)]
    for thread in clients:
        thread.start()
    for _ in clients:
        assert asked.acquire(timeout=WAIT)
    over.set()
    for thread in (holder, *clients):
        thread.join(WAIT)
    assert answers == [200] * CROWD
    assert reached(Limit.PENDING) == before


def test_a_head_that_is_too_large_is_431(served: Any) -> None:
    server, tls = served
    before = reached(Limit.REQUEST_SIZE)
    fields = (b"A: " + b"x" * 8000 + b"\r\n") * 4
    with RawClient(server.port, tls) as client:
        client.send(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
        assert client.answer().status == 200
    with RawClient(server.port, tls) as client:
        client.send(b"GET / HTTP/1.1\r\n" + fields + b"B: " + b"x" * 1000 + b"\r\n")
        assert client.answer().status == 431
    assert reached(Limit.REQUEST_SIZE) == before + 1


def test_request_line_that_is_too_long_is_414(served: Any) -> None:
    server, tls = served
    before = reached(Limit.REQUEST_SIZE)
    line = b"GET /?" + b"x" * (MAX_REQUEST_LINE - len(b"GET /? HTTP/1.1\r\n") - 1) + b" HTTP/1.1\r\n"
    with RawClient(server.port, tls) as client:
        client.send(line + b"Host: localhost\r\n\r\n")
        assert client.answer().status == 200
    with RawClient(server.port, tls) as client:
        client.send(line.replace(b"?", b"?x") + b"Host: localhost\r\n\r\n")
        assert client.answer().status == 414
    assert reached(Limit.REQUEST_SIZE) == before + 1


def test_answer_that_is_not_read_ends_the_connection(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, tls = served
    monkeypatch.setattr(Handler, "settings", settings(WEBSOCKET_SEND_TIMEOUT="0.3"))
    before = reached(Limit.ANSWER_TIME)
    with RawClient(server.port, tls) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: reached(Limit.ANSWER_TIME) == before + 1, "counted")


def test_incomplete_requests_are_counted_by_kind(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, tls = served
    monkeypatch.setattr(Handler, "settings", settings(WEBSOCKET_HANDSHAKE_TIMEOUT="0.3"))
    requests, handshakes = reached(Limit.REQUEST_TIME), reached(Limit.TLS_TIME)
    with RawClient(server.port) as client:
        client.ended()
    wait_until(
        lambda: reached(Limit.TLS_TIME if tls else Limit.REQUEST_TIME) > (handshakes if tls else requests),
        "the counter",
    )
    with RawClient(server.port, tls) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: loc")
        client.ended()
    wait_until(lambda: reached(Limit.REQUEST_TIME) == requests + (1 if tls else 2), "counted")
    assert reached(Limit.TLS_TIME) == handshakes + (1 if tls else 0)


def test_idle_keep_alive_connection_is_not_an_attack(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, tls = served
    monkeypatch.setattr(Handler, "settings", settings(WEBSOCKET_HANDSHAKE_TIMEOUT="0.3"))
    before = reached(Limit.REQUEST_TIME)
    with RawClient(server.port, tls) as client:
        client.send(ASK)
        assert client.answer().status == 200
        client.ended()
    assert reached(Limit.REQUEST_TIME) == before


def test_wait_for_other_clients_is_not_the_clients_delay(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that has arrived is answered, however many others are ahead of it."""
    server, tls = served
    limits, sent = [0.1], threading.Event()

    def wait() -> None:
        while not sent.is_set():
            gevent.sleep(0.001)
        gevent.sleep(0.2)
        limits[0] = WAIT  # from here on the client's own time counts

    monkeypatch.setattr(Handler, "request_seconds", property(lambda _: limits[0]))
    monkeypatch.setattr(request_handler, "let_others_run", wait)
    before = reached(Limit.REQUEST_TIME)
    with RawClient(server.port, tls) as client:
        client.send(ASK)
        sent.set()
        assert client.answer().status == 200
    assert reached(Limit.REQUEST_TIME) == before
