"""The TLS socket of `listen`: one thread reads while another one writes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable

import pytest

from peatio_ws.cli import tls_socket
from peatio_ws.cli.listener import client as listen_client
from peatio_ws.cli.listener.client import ListenResult, ListenTarget
from tests.support.certificate import Certificate
from tests.support.servers import wait_until
from tests.support.tls_pair import WAIT, Watched, pair
from tests.support.tls_server import TlsServer
from tests.unit.cli.small_server import TRADES, Peer, frames, listen, server, subscribed


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def trust(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.cert))


def test_listen_receives_over_tls(certificate: Certificate) -> None:
    def script(peer: Peer) -> None:
        peer.send(subscribed("btcusd.trades"), TRADES)

    with server(script, certificate=certificate) as served:
        result = listen(f"{served.url}/public --stream btcusd.trades --count 1")
    assert (result.exit_code, frames(result)) == (0, [subscribed("btcusd.trades"), TRADES])


def test_session_tickets_without_an_answer_do_not_keep_listen(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_client, "ANSWER_SECONDS", 0.2)
    ends = list[ListenResult]()
    with TlsServer(certificate.cert, certificate.key, tickets=2) as served:
        target = ListenTarget(f"wss://localhost:{served.port}/public")
        thread = threading.Thread(target=lambda: ends.append(listen_client.run_listener(target, print)), daemon=True)
        thread.start()
        thread.join(WAIT)
        ended = not thread.is_alive()  # before the server closes the connection
    assert ended
    assert [end.status for end in ends] == [listen_client.NOT_CONNECTED]


def test_thread_that_waits_for_data_is_not_within_openssl(certificate: Certificate) -> None:
    with pair(certificate, tls_socket.thread_safe_context()) as (client, served):
        client.settimeout(None)
        watched = client._sslobj = Watched(client._sslobj)  # type: ignore[attr-defined]
        results = list[bytes]()
        reader = threading.Thread(target=lambda: results.append(client.recv(2)), daemon=True)
        reader.start()
        for _ in range(200):
            client.sendall(b"request")
        served.sendall(b"ok")
        reader.join(WAIT)
        assert (results, watched.overlapped) == ([b"ok"], False)


@pytest.mark.parametrize("end", [lambda sock: sock.close(), lambda sock: sock.shutdown(2)], ids=["close", "shutdown"])
def test_thread_that_waits_ends_with_the_socket(
    certificate: Certificate, end: Callable[[ssl.SSLSocket], object]
) -> None:
    with pair(certificate, tls_socket.thread_safe_context()) as (client, _):
        client.settimeout(None)
        watched = client._sslobj = Watched(client._sslobj)  # type: ignore[attr-defined]
        results = list[bytes]()
        reader = threading.Thread(target=lambda: results.append(client.recv(1)), daemon=True)
        reader.start()
        wait_until(lambda: watched.ended > 0, "it waits")
        threading.Thread(target=end, args=(client,), daemon=True).start()  # if it does not end the wait, it waits, too
        reader.join(WAIT)
        assert results == [b""]
