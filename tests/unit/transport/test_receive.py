"""The bytes of one client, over a pair of sockets, TLS or not."""

from __future__ import annotations

import gc
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest

from peatio_ws.transport.receive import READ_BYTES, receive
from tests.support.certificate import Certificate

LIMIT = 30
"""Seconds after which a test that waits is given up."""

Sockets = tuple[Any, Any]
"""The server's and the client's."""


@pytest.fixture(params=["plain", "tls"])
def sockets(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sockets]:
    mine, theirs = gevent.socket.socketpair()
    with gevent.Timeout(LIMIT):
        if request.param == "tls":
            made = Certificate(tmp_path)
            server = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(made.cert, made.key)
            trusting = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.load_verify_locations(made.cert)
            shaking = gevent.spawn(trusting.wrap_socket, theirs, server_hostname="localhost")
            mine, theirs = server.wrap_socket(mine, server_side=True), shaking.get()
        with mine, theirs:
            yield mine, theirs


def waiting_for(sock: Any) -> gevent.Greenlet:
    """A greenlet that waits in `receive`."""
    reader = gevent.spawn(receive, sock)
    while sock._read_event.callback is None:
        gevent.sleep(0)
    return reader


def test_waits_for_what_the_client_sends(sockets: Sockets) -> None:
    mine, client = sockets
    reader = waiting_for(mine)
    client.sendall(b"at last")
    assert reader.get() == b"at last"


def test_returns_at_most_a_record_and_then_the_rest(sockets: Sockets) -> None:
    mine, client = sockets
    sent = bytes(range(256)) * 200
    sending = gevent.spawn(client.sendall, sent)
    got: list[bytes] = []
    while sum(map(len, got)) < len(sent):
        got.append(receive(mine))
    sending.get()
    assert b"".join(got) == sent
    assert max(map(len, got)) <= READ_BYTES


def test_the_end_is_no_bytes(sockets: Sockets) -> None:
    mine, client = sockets
    reader = waiting_for(mine)
    client.close()
    assert reader.get() == b""


def waits_of_the_socket() -> list[BaseException]:
    """All exceptions in memory that say that a socket has nothing to read."""
    return [one for one in gc.get_objects() if isinstance(one, ssl.SSLWantReadError | BlockingIOError)]


def test_an_idle_connection_keeps_no_exception(sockets: Sockets) -> None:
    mine, client = sockets
    of_other_tests = waits_of_the_socket()
    reader = waiting_for(mine)
    assert [one for one in waits_of_the_socket() if all(one is not other for other in of_other_tests)] == []
    client.sendall(b"bye")
    assert reader.get() == b"bye"


def test_a_time_limit_around_it_loses_nothing(sockets: Sockets) -> None:
    mine, client = sockets
    with pytest.raises(TimeoutError), gevent.Timeout(0.01, TimeoutError("the handler's")):
        receive(mine)
    client.sendall(b"later")
    assert receive(mine) == b"later"
