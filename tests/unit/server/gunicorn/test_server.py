"""What comes before a request on a worker's sockets: PROXY protocol headers, and who closes a socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent.ssl
import pytest

from peatio_ws import testing
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server.gunicorn.server import Server
from peatio_ws.transport.websocket_handler import Handler
from tests.support.raw_client import WAIT, RawClient
from tests.unit.samples import settings
from tests.unit.transport.http.test_proxy_protocol import v1

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body: bytes = environ["REMOTE_ADDR"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _serve() -> Server:
    server = Server(("127.0.0.1", 0), _answer, handler_class=Handler, log=None)
    server.start()
    return server


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(Handler, "settings", settings(TRUSTED_PROXIES="127.0.0.1", **request.param))
    made = testing._run(_serve)
    yield made
    testing._run(lambda: made.stop(timeout=WAIT))
    Server.running.remove(made)


def headers_refused() -> float:
    return float(metrics.limits_reached.labels(Limit.PROXY_HEADER.value)._value.get())


def answer(server: Server, before: bytes, sent: bytes = ASK) -> tuple[int, bytes]:
    """Return status and body of the answer; status 0 if the connection is closed without one."""
    with RawClient(server.server_port, before=before) as client:
        client.send(sent)
        got = client.answer()
        return got.status, got.body


PROXIED = {"WEBSOCKET_PROXY_PROTOCOL": "true", "WEBSOCKET_HANDSHAKE_TIMEOUT": "0.3"}


@pytest.mark.parametrize("server", [PROXIED], indirect=True)
def test_client_has_the_address_in_the_header_of_a_trusted_load_balancer(server: Server) -> None:
    before = headers_refused()
    assert answer(server, v1("203.0.113.7")) == (200, b"203.0.113.7")
    assert answer(server, b"PROXY UNKNOWN\r\n") == (200, b"127.0.0.1")
    assert headers_refused() == before


@pytest.mark.parametrize("server", [PROXIED], indirect=True)
@pytest.mark.parametrize(("before", "sent"), [(b"", ASK), (v1()[:20], b"")])
def test_connection_without_a_header_is_closed_and_counted(server: Server, before: bytes, sent: bytes) -> None:
    refused = headers_refused()
    assert answer(server, before, sent) == (0, b"")
    assert headers_refused() == refused + 1
    assert not Handler.idle


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_header_is_not_read_unless_it_is_expected(server: Server) -> None:
    assert answer(server, b"") == (200, b"127.0.0.1")
    assert answer(server, v1("203.0.113.7"))[0] == 400


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_released_socket_stays_open_when_its_request_is_over(server: Server) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        server.release(mine)
        server.do_close(mine)
        mine.sendall(b"still open")
        server.do_close(mine)
        assert other.recv(100) == b"still open"
        assert other.recv(100) == b""
    assert not server._released


@pytest.mark.parametrize("server", [{}], indirect=True)
def test_client_that_disconnected_before_tls_is_no_error(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = RawClient(listener.getsockname()[1])
        client.finish()
        client.reset()
        below, address = listener.accept()
    server.ssl_args = {"server_side": True}
    server.wrap_socket = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket
    testing._run(lambda: server.wrap_socket_and_handle(below, address))
    assert not Handler.idle
