"""The TLS socket of the blocking client: one thread reads while another one writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
from peatio_client._tls_socket import ThreadSafeSocket, thread_safe

from tests.support.certificate import Certificate
from tests.support.servers import wait_until
from tests.support.tls_pair import WAIT, Watched, pair

LONG = b"x" * 4 * 2**20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


def received(sock: ssl.SSLSocket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := sock.recv(65_536)):
        found += data
    return found


def test_a_thread_that_waits_for_data_is_not_within_openssl(certificate: Certificate) -> None:
    with pair(certificate, thread_safe(certificate.trusted())) as (client, server):
        watched = client._sslobj = Watched(client._sslobj)  # type: ignore[attr-defined]
        results = list[bytes]()
        reader = threading.Thread(target=lambda: results.append(received(client, 2)))
        reader.start()
        for _ in range(200):
            client.sendall(b"request")
        server.sendall(b"ok")
        assert received(server, 1400) == b"request" * 200
        reader.join(WAIT)
        assert (results, watched.overlapped) == ([b"ok"], False)


def test_a_thread_that_waits_to_write_lets_the_other_one_read(certificate: Certificate) -> None:
    with pair(certificate, thread_safe(certificate.trusted())) as (client, server):
        writer = threading.Thread(target=client.sendall, args=(LONG,))
        writer.start()
        answer = threading.Thread(target=server.sendall, args=(LONG,))  # the server reads nothing until this is sent
        answer.start()
        assert received(client, len(LONG)) == LONG
        answer.join(WAIT)
        assert received(server, len(LONG)) == LONG
        writer.join(WAIT)
        assert not writer.is_alive()


def test_times_out_as_usual(certificate: Certificate) -> None:
    with pair(certificate, thread_safe(certificate.trusted())) as (client, _):
        client.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.recv(1)
        with pytest.raises(TimeoutError):
            client.sendall(LONG)
        assert client.gettimeout() == 0.01


def test_shutdown_ends_a_waiting_reader(certificate: Certificate) -> None:
    with pair(certificate, thread_safe(certificate.trusted())) as (client, _):
        results = list[bytes]()
        reader = threading.Thread(target=lambda: results.append(client.recv(1)))
        reader.start()
        client.shutdown(socket.SHUT_WR)
        client.shutdown(socket.SHUT_RDWR)
        reader.join(WAIT)
        assert results == [b""]


@pytest.mark.parametrize("call", [lambda sock: sock.recv(1), lambda sock: sock.sendall(LONG)], ids=["read", "write"])
def test_close_ends_a_thread_that_waits(certificate: Certificate, call: Callable[[ssl.SSLSocket], object]) -> None:
    with pair(certificate, thread_safe(certificate.trusted())) as (client, _):
        watched = client._sslobj = Watched(client._sslobj)  # type: ignore[attr-defined]
        client.settimeout(None)

        def wait() -> None:
            with contextlib.suppress(OSError):
                call(client)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        wait_until(lambda: watched.ended > 0, "it waits")
        client.close()
        thread.join(WAIT)
        assert not thread.is_alive()


def test_contexts_of_another_library_keep_their_class() -> None:
    class Other(ssl.SSLSocket):
        pass

    context = ssl.create_default_context()
    context.sslsocket_class = Other
    assert thread_safe(context).sslsocket_class is Other
    assert thread_safe(None).sslsocket_class is ThreadSafeSocket
