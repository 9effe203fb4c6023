"""What clients connect to: Unix sockets, TLS, the stock worker, and workers that cannot upgrade."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.support.certificate import Certificate
from tests.support.gateway import Publisher, Signer
from tests.support.raw_client import PONG, TEXT, WAIT, RawClient, close, frame, text
from tests.support.servers import wait_until
from tests.support.serving import NO_BEARER, NOT_UNDERSTOOD, STOCK, Start, authenticated, served, without_end


def test_fifty_clients_over_a_unix_socket(start: Start, folder: Path, signer: Signer, publisher: Publisher) -> None:
    where = str(folder / "gateway.sock")
    gateway = start(WEBSOCKET_UNIX=where)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(where)) for _ in range(50)]
        for number, client in enumerate(clients):
            authenticated(client, signer.token(f"ID{number}"))
        for number in range(50):
            publisher.order(f"ID{number}", number)
        for number, client in enumerate(clients):
            assert client.json()["orderbook"]["id"] == number
        for client in clients:
            client.send(close(1000))
            assert client.closed() == (1000, "")
            client.ended()
    wait_until(lambda: gateway.log().count('"connection closed"') == 50, "fifty ends in the log")
    assert not gateway.tracebacks()


@pytest.fixture(scope="module")
def certificate(folder: Path) -> dict[str, str]:
    """The gateway's variables for a certificate of `localhost` that signed itself."""
    return Certificate(folder / "gateway").environ


def test_fifty_clients_over_tls_get_events_while_they_send(
    start: Start, certificate: dict[str, str], signer: Signer, publisher: Publisher
) -> None:
    gateway = start(**certificate, WEBSOCKET_MESSAGE_BURST="1000")
    tls = ssl.create_default_context(cafile=certificate["WEBSOCKET_SSL_CERT"])
    failures: list[str] = []

    def talk(client: RawClient) -> None:
        """Sends 30 messages, each by itself; gets an answer to each, and 30 orders, in order, in between."""
        orders = []
        for _ in range(30):
            client.send(text("{}" + " " * 2000))
            found = client.json()
            while "orderbook" in found:
                orders.append(found["orderbook"]["id"])
                found = client.json()
            assert found == NOT_UNDERSTOOD
        while len(orders) < 30:
            orders.append(client.json()["orderbook"]["id"])
        assert orders == list(range(30))
        client.send(close(1000))
        assert client.closed() == (1000, "")

    def guarded(client: RawClient) -> None:
        try:
            talk(client)
        except Exception as error:
            failures.append(repr(error))

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port, tls)) for _ in range(50)]
        for client in clients:
            authenticated(client, signer.token("IDANN"))
        threads = [threading.Thread(target=guarded, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for number in range(30):
            publisher.order("IDANN", number, price="1" * 2000)
        for thread in threads:
            thread.join(4 * WAIT)
        assert not any(thread.is_alive() for thread in threads)
    assert not failures
    wait_until(lambda: gateway.log().count('"connection closed"') == 50, "fifty ends in the log")
    assert not gateway.tracebacks()


def test_flooding_client_over_tls_delays_no_other_client(start: Start, certificate: dict[str, str]) -> None:
    """In records smaller than what is read at a time: none of them is followed by a wait."""
    gateway = start(**certificate)
    tls = ssl.create_default_context(cafile=certificate["WEBSOCKET_SSL_CERT"])
    with RawClient(gateway.port, tls) as flood, without_end(flood.upgrade(), frame(PONG) * 200):
        for _ in range(5):
            with RawClient(gateway.port, tls) as client:
                assert "challenge" in client.upgrade().json()


def test_a_silent_tls_handshake_ends_within_the_limit(start: Start, certificate: dict[str, str]) -> None:
    gateway = start(**certificate, WEBSOCKET_HANDSHAKE_TIMEOUT="1")
    began = time.monotonic()
    with RawClient(gateway.port) as client:
        client.ended()
    assert time.monotonic() - began > 0.5, "not at once"
    assert not gateway.tracebacks()


def test_a_renewed_certificate_is_shown_after_a_reload(start: Start, folder: Path) -> None:
    certificate = Certificate(folder / "renewed")
    gateway = start(**certificate.environ)
    before, workers = certificate.cert.read_text(), set(gateway.workers())
    assert ssl.get_server_certificate(("127.0.0.1", gateway.port)) == before
    certificate.renew()
    os.kill(gateway.pid, signal.SIGHUP)
    wait_until(lambda: not workers & set(gateway.workers()), "the old workers are gone")
    assert ssl.get_server_certificate(("127.0.0.1", gateway.port)) == certificate.cert.read_text() != before


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_worker_ends_in_spite_of_connections_that_asked_for_nothing(
    start: Start, certificate: dict[str, str], over_tls: bool
) -> None:
    gateway = start(WEBSOCKET_DRAIN_SECONDS="0.5", **(certificate if over_tls else {}))
    tls = ssl.create_default_context(cafile=certificate["WEBSOCKET_SSL_CERT"]) if over_tls else None
    with (
        RawClient(gateway.port),
        RawClient(gateway.port, tls) as half_line,
        RawClient(gateway.port, tls) as half_header,
        RawClient(gateway.port, tls) as kept_alive,
    ):
        half_line.send(b"GET / HT")
        half_header.send(b"GET / HTTP/1.1\r\nHost: local")
        # Its answer comes after the others were accepted: the worker knows them all.
        assert kept_alive.request({"Upgrade": None, "Connection": "keep-alive"}).status == 426
        assert gateway.process is not None
        gateway.process.terminate()
        assert gateway.process.wait(WAIT) == 0
        assert "SIGKILL" not in gateway.log(), "gunicorn did not have to end it"
    assert not gateway.tracebacks()


def test_the_stock_worker_serves_the_classic_protocol_too(
    folder: Path, start: Start, signer: Signer, publisher: Publisher
) -> None:
    gateway = start(command=("gunicorn", "-k", STOCK, "wsgi"), WEBSOCKET_MAX_CONNECTIONS="2")
    with RawClient(gateway.port) as client, RawClient(gateway.port) as second:
        authenticated(client, signer.token("IDANN"))
        publisher.order("IDANN", 7)
        assert client.json()["orderbook"]["id"] == 7
        second.upgrade(along=text({"jwt": "x"}))
        assert "challenge" in second.json()
        assert second.json() == NO_BEARER
        with RawClient(gateway.port) as third:
            assert third.upgrade().closed() == (1013, "Full; retry after 5")
        second.send(frame(TEXT, b"x", mask=False))
        assert second.closed()[0] == 1002
        second.ended()
        client.send(close(1000))
        assert client.closed() == (1000, "")
        client.ended()
    wait_until(lambda: gateway.log().count('"connection closed"') == 2, "two ends in the log")
    assert not gateway.tracebacks()


def test_gateways_of_a_host_share_a_port(start: Start) -> None:
    """With SO_REUSEPORT: one is restarted while the other serves."""
    common = {"AMQP_URL": "memory://", "GUNICORN_CMD_ARGS": "--reuse-port"}
    first = start(**common)
    second = start(**common, WEBSOCKET_PORT=str(first.port))
    with contextlib.ExitStack() as stack:

        def both_serve() -> bool:
            stack.enter_context(RawClient(first.port)).upgrade()
            return all(gateway.total("peatio_ws_connections") for gateway in (first, second))

        wait_until(both_serve, "each has a client")
        first.stop()
        with RawClient(first.port) as client:
            assert "challenge" in client.upgrade().json()


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_worker_that_cannot_upgrade_answers_with_an_error(
    folder: Path, start: Start, signer: Signer, worker: str
) -> None:
    with served(folder, "wsgi", worker, **signer.environ, AMQP_URL="amqp://guest:guest@127.0.0.1:1//") as gateway:
        with RawClient(gateway.port) as client:
            answer = client.request()
        assert answer.status == 501
        assert b"peatio-ws run MODULE" in answer.body
