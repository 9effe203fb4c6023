"""TLS on the gateway's own port: certificates that are renewed while it serves, session tickets that any worker
accepts, and clients that do with TLS what no library does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peatio_ws.transport.tls import read_certificate
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.raw_client import PING, PONG, TEXT, WAIT, Frame, RawClient, frame
from tests.support.servers import RabbitMQ, wait_until
from tests.support.serving import Start
from tests.support.tls_records import ALERT, CLOSE_NOTIFY, HANDSHAKE, HELLO, KEY_UPDATE, TlsClient

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
EXPIRY = "peatio_ws_certificate_expiry_timestamp_seconds"


def is_served(client: RawClient) -> None:
    """Check that a client's ping is answered, whatever comes before the answer."""
    client.send(frame(PING, b"still there?"))
    while (found := client.next()) != Frame(PONG, b"still there?"):
        assert found is not None


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def connected(port: int, tls: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
    below = socket.create_connection(("127.0.0.1", port), WAIT)
    return tls.wrap_socket(below, server_hostname="localhost", session=session)


def test_renewed_certificates_and_tickets_with_two_workers(start: Start, folder: Path) -> None:
    files = Certificate(folder / "renewed-by-itself")
    gateway = start(**files.environ, WEB_CONCURRENCY="2")
    workers, old = sorted(gateway.workers()), files.cert.read_text()
    # A session of one worker is resumed by the other.
    tls, session = files.trusted(), None
    for other in workers:
        with stopped(other), connected(gateway.port, tls, session) as sock:
            assert sock.session_reused is (session is not None)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 426"
            session = sock.session

    def count(event: str) -> int:
        return sum(line["event"].startswith(event) for line in gateway.events())

    with RawClient(gateway.port, tls) as client:
        client.upgrade()
        files.renew()
        wait_until(lambda: count("certificate renewed") == 2, "both workers have it")
        for other in workers:
            with stopped(other):
                assert ssl.get_server_certificate(("127.0.0.1", gateway.port)) == files.cert.read_text() != old
        is_served(client)
        assert gateway.metric(EXPIRY) == read_certificate(files.cert).ends.timestamp()
        good = files.cert.read_text()
        files.cert.write_text(old)
        wait_until(lambda: count("renewed certificate refused") == 2, "both workers refuse a pair that does not fit")
        assert ssl.get_server_certificate(("127.0.0.1", gateway.port)) == good
        is_served(client)
    assert sorted(gateway.workers()) == workers
    assert not gateway.tracebacks()


# ---- clients that no library makes


@pytest.fixture(scope="module")
def files(folder: Path) -> Certificate:
    return Certificate(folder / "hostile-tls")


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, signer: Signer, files: Certificate) -> Iterator[GatewayProcess]:
    limits = {
        "WEBSOCKET_OUTBOX_BYTES": "65536",
        "WEBSOCKET_SEND_TIMEOUT": "3",
        "WEBSOCKET_PING_INTERVAL": "2",
        "WEBSOCKET_PING_TIMEOUT": "6",
    }
    process = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **files.environ, **limits})
    yield process
    process.stop()


@pytest.fixture
def other(gateway: GatewayProcess, files: Certificate) -> Iterator[RawClient]:
    """A client that must not notice anything."""
    with RawClient(gateway.port, files.trusted()) as client:
        yield client.upgrade("/public?stream=hostile.trades")


Open = Callable[..., TlsClient]


@pytest.fixture
def opened(gateway: GatewayProcess, files: Certificate, tmp_path: Path) -> Iterator[Open]:
    """Opens connections, and upgrades them unless told otherwise."""
    with contextlib.ExitStack() as stack:

        def one(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, upgrade: bool = True) -> TlsClient:
            client = stack.enter_context(TlsClient(gateway.port, files.trusted(), version, tmp_path))
            if upgrade:
                client.send(client.record(UPGRADE % b"/public?stream=hostile.trades"))
                assert client.read().startswith(b"HTTP/1.1 101")
            return client

        yield one


def closes(gateway: GatewayProcess, code: int | str) -> float:
    return gateway.total("peatio_ws_closes_total", f'code="{code}"')


def test_client_that_stops_reading_within_a_record_is_closed(
    gateway: GatewayProcess, other: RawClient, opened: Open, publisher: Publisher
) -> None:
    client, before = opened(), closes(gateway, 4413)
    publisher.event("public.hostile.trades", {"id": 0})
    assert len(client.read_raw(10)) == 10, "part of a record"

    def is_closed() -> bool:
        for number in range(10):
            publisher.event("public.hostile.trades", {"id": number, "note": "x" * 4000})
        is_served(other)
        return closes(gateway, 4413) > before

    wait_until(is_closed, "gone in time", pause=0.1)


def test_client_that_stops_writing_within_a_record_is_closed(
    gateway: GatewayProcess, other: RawClient, opened: Open
) -> None:
    client, before = opened(), closes(gateway, 4408)
    client.send(client.record(frame(PING, b"never whole"))[:-3])
    wait_until(lambda: closes(gateway, 4408) > before or is_served(other), "gone in time", pause=0.2)
    client.read_on()
    is_served(other)


WITHIN = {
    "nothing": b"",
    "a header": b"\x81",
    "a length": frame(PING, b"x") + b"\x81\xfe",
    "a message": frame(TEXT, b"half", fin=False),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_close_notify_ends_a_connection_at_any_time(
    gateway: GatewayProcess, other: RawClient, opened: Open, version: ssl.TLSVersion
) -> None:
    before = closes(gateway, "other")
    for number, sent in enumerate(WITHIN.values(), 1):
        client = opened(version)
        client.send((client.record(sent) if sent else b"") + client.record(CLOSE_NOTIFY, ALERT))
        client.read_on()
        wait_until(lambda: closes(gateway, "other") == before + number, f"gone within {number}")  # noqa: B023
    for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        client = opened(version, upgrade=False)
        client.send((client.record(sent) if sent else b"") + client.record(CLOSE_NOTIFY, ALERT))
        client.read_on()
    is_served(other)
    assert not gateway.tracebacks()


@pytest.mark.parametrize(("version", "sent"), [(VERSIONS[0], HELLO), (VERSIONS[1], KEY_UPDATE)], ids=["1.2", "1.3"])
def test_records_without_data_delay_no_other_client(
    gateway: GatewayProcess, other: RawClient, opened: Open, version: ssl.TLSVersion, sent: bytes
) -> None:
    """Requests to renegotiate, which are refused, and key updates."""
    client = opened(version)
    flood = b"".join(client.record(sent, HANDSHAKE) for _ in range(3000))
    client.send(flood)
    is_served(other)
    client.drop()
    is_served(other)
    with opened(version) as again:
        again.send(again.record(frame(PING)))
        assert again.read()
    assert not gateway.tracebacks()
