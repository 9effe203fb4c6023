"""TLS to the broker: checked names, trusted files, timeouts, and how many bytes a read returns."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import socket
import ssl
import struct
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent.ssl
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from peatio_ws.amqp import tls
from peatio_ws.amqp.connection import describe_error, open_connection
from peatio_ws.amqp.frame_reader import READ_BYTES, BufferedConnection
from peatio_ws.amqp.tls import PlainConnection
from peatio_ws.config.tls_files import TlsFiles
from tests.support.certificate import Authority, Certificate
from tests.support.servers import wait_until
from tests.support.tls_server import TlsServer

SECONDS = 10.0
RECORD_BYTES = 22
"""Bytes that TLS 1.3 adds to a record: header, type and tag (RFC 8446 section 5.2)."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[TlsServer]:
    with TlsServer(*authority.issue("server", "localhost", "127.0.0.1")) as server:
        yield server


def transport_to(port: int, ca: Path, name: str = "localhost", kind: Any = BufferedConnection) -> Any:
    """Return a transport that is connected as `open_connection` does it."""
    options = {"files": TlsFiles(str(ca)), "server_hostname": name}
    transport = kind().Transport(f"127.0.0.1:{port}", SECONDS, ssl=options)
    transport.connect()
    return transport


def fault(url: str) -> BaseException:
    """Return why connecting to a broker's URL fails."""
    with pytest.raises(OSError) as raised:
        open_connection(url).connect()
    return raised.value


# ---- timeouts


@pytest.mark.parametrize("kind", [PlainConnection, BufferedConnection])
def test_handshake_timeout_is_removed_from_the_socket(server: TlsServer, authority: Authority, kind: Any) -> None:
    transport = transport_to(server.port, authority.cert, kind=kind)
    try:
        assert transport.sock.gettimeout() is None, "reads from a quiet broker would time out"
    finally:
        transport.close()


@pytest.mark.parametrize("kind", [PlainConnection, BufferedConnection])
def test_closing_does_not_wait_for_the_broker(server: TlsServer, authority: Authority, kind: Any) -> None:
    """The server reads nothing, like a frozen broker."""
    transport = transport_to(server.port, authority.cert, kind=kind)
    transport.close()
    assert transport.sock is None


# ---- the name in the certificate


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificate_of_the_urls_host_or_address_is_accepted(
    server: TlsServer, authority: Authority, host: str
) -> None:
    server_name = None if host == "127.0.0.1" else host  # RFC 6066 section 3: an address is not sent as server name
    connection = open_connection(f"amqps://u:p@{host}:{server.port}/?cacertfile={authority.cert}")
    options = connection.ssl
    transport = transport_to(server.port, authority.cert, options["server_hostname"])
    assert transport.connected
    transport.close()
    assert server.names == [server_name]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificate_of_another_host_is_refused_with_a_remedy(authority: Authority, host: str) -> None:
    with TlsServer(*authority.issue("other", "mq.example.com", "192.0.2.7")) as server:
        error = fault(f"amqps://u:sesame@{host}:{server.port}/?cacertfile={authority.cert}")
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert "certificate is for another host" in describe_error(error)
    assert "host name or address in AMQP_URL" in describe_error(error)


def test_expected_name_may_differ_from_the_urls_host(authority: Authority) -> None:
    """For tunnels and forwarded ports."""
    with TlsServer(*authority.issue("far", "mq.example.com")) as server:
        url = f"amqps://u:p@127.0.0.1:{server.port}/?cacertfile={authority.cert}&server_name_indication=mq.example.com"
        options = open_connection(url).ssl
        transport_to(server.port, authority.cert, options["server_hostname"]).close()
    assert server.names == ["mq.example.com"]


def test_each_of_several_brokers_is_checked_for_its_own_name(authority: Authority) -> None:
    for host in ("mq1.example.com", "[::1]", "localhost"):
        options = open_connection(f"amqps://u:p@{host}:5671/?cacertfile={authority.cert}").ssl
        assert options["server_hostname"] == host.strip("[]")
    assert not open_connection("amqp://u:p@mq1.example.com").ssl


# ---- trusted certificates


def test_each_fault_of_a_certificate_has_its_own_remedy(authority: Authority, tmp_path: Path) -> None:
    hour = datetime.timedelta(hours=1)
    own = Certificate(tmp_path / "own")
    other = Authority(tmp_path / "other")
    cases = [
        (authority.issue("old", "localhost", since=-2 * hour, until=-hour), authority.cert, "has expired", "renew it"),
        (authority.issue("new", "localhost", since=hour, until=2 * hour), authority.cert, "not valid yet", "clocks"),
        (other.issue("x", "localhost"), authority.cert, "authority that is not trusted", "AMQP_CA_FILE"),
        ((own.cert, own.key), authority.cert, "self-signed", "a file with that certificate"),
        (authority.issue("c", "localhost", for_client=True), authority.cert, "not for servers", "serverAuth"),
    ]
    for (cert, key), ca, text, remedy in cases:
        with TlsServer(cert, key) as server:
            said = describe_error(fault(f"amqps://u:sesame@localhost:{server.port}/?cacertfile={ca}"))
        assert text in said
        assert remedy in said
        assert "sesame" not in said


def test_certificate_in_the_file_is_trusted_even_if_not_a_root(authority: Authority) -> None:
    cert, key = authority.issue("pinned", "localhost")
    with TlsServer(cert, key) as server:
        transport_to(server.port, cert).close()


def test_port_without_tls_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection = open_connection(f"amqps://u:p@localhost:{port}/")
        greeter = threading.Thread(target=greet, args=(listener,))
        greeter.start()
        with pytest.raises(OSError) as raised:
            connection.connect()
        listener.shutdown(socket.SHUT_RDWR)
        greeter.join(SECONDS)
    assert "does not speak TLS on this port" in describe_error(raised.value)


def greet(listener: socket.socket) -> None:
    """Answer as RabbitMQ does on a port without TLS. kombu tries twice."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, contextlib.suppress(OSError):
            client.recv(1024)
            client.sendall(b"AMQP\x00\x00\x09\x01")
            client.recv(1024)


def test_renewed_files_are_used_by_the_next_connection(tmp_path: Path) -> None:
    own = Certificate(tmp_path)
    with TlsServer(own.cert, own.key) as server:
        transport_to(server.port, own.cert).close()
    own.renew()
    with TlsServer(own.cert, own.key) as server:
        transport_to(server.port, own.cert).close()


def test_tls_contexts_are_created_once(authority: Authority) -> None:
    files = TlsFiles(str(authority.cert))
    assert tls.context(files) is tls.context(files)


def test_client_certificate_is_sent_if_requested(authority: Authority) -> None:
    cert, key = authority.issue("ann", "ann", key=rsa.generate_private_key(65_537, 2048), for_client=True)
    url = f"cacertfile={authority.cert}&certfile={cert}&keyfile={key}"
    with TlsServer(*authority.issue("strict", "localhost"), (b"hello",), clients=authority.cert) as server:
        options = open_connection(f"amqps://u:p@localhost:{server.port}/?{url}").ssl
        transport = PlainConnection().Transport(f"127.0.0.1:{server.port}", SECONDS, ssl=options)
        transport.connect()
        assert transport.sock.recv(5) == b"hello"
        transport.close()


# ---- how much a read returns


def frames(count: int) -> tuple[bytes, ...]:
    """Return heartbeats. Each is a TLS record."""
    return (struct.pack(">BHIB", 8, 0, 0, 0xCE),) * count


def test_one_read_returns_all_waiting_records(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = frames(300)
    monkeypatch.setattr(tls.ssl, "SSLContext", gevent.ssl.SSLContext)
    tls._context.cache_clear()
    try:
        with TlsServer(*authority.issue("burst", "localhost"), pieces) as server:
            transport = transport_to(server.port, authority.cert)
            size = sum(map(len, pieces))
            wait_until_received(transport.sock, size + len(pieces) * RECORD_BYTES)
            transport.fill()
            assert len(transport._buffer) == size
            assert transport.drained
            transport.close()
    finally:
        tls._context.cache_clear()


def test_read_that_leaves_tls_records_behind_is_not_drained(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise `broker_behind_seconds` would stay 0."""
    pieces = (b"x" * 10_000,) * 8
    assert READ_BYTES < 80_000 < 2 * READ_BYTES
    monkeypatch.setattr(tls.ssl, "SSLContext", gevent.ssl.SSLContext)
    tls._context.cache_clear()
    try:
        with TlsServer(*authority.issue("large", "localhost"), pieces) as server:
            transport = transport_to(server.port, authority.cert)
            wait_until_received(transport.sock, 80_000 + len(pieces) * RECORD_BYTES)
            transport.fill()
            assert not transport.drained
            level = transport.level_at
            transport.fill()
            assert transport.drained
            assert len(transport._buffer) == 80_000
            assert transport.level_at >= level
            assert transport.sock.gettimeout() is None
            transport.close()
    finally:
        tls._context.cache_clear()


def test_records_buffered_by_openssl_are_read_at_once(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL holds a part of a record. The kernel has nothing left, so no watcher reports the rest."""
    pieces = (b"x" * 16_000,) * 4 + (b"x" * 2_000,)
    assert 4 * 16_000 < READ_BYTES < 66_000
    monkeypatch.setattr(tls.ssl, "SSLContext", gevent.ssl.SSLContext)
    tls._context.cache_clear()
    try:
        with TlsServer(*authority.issue("rest", "localhost"), pieces) as server:
            transport = transport_to(server.port, authority.cert)
            wait_until_received(transport.sock, 66_000 + len(pieces) * RECORD_BYTES)
            transport.fill()
            assert received(transport.sock) == 0
            with gevent.Timeout(SECONDS):
                transport.fill()
            assert len(transport._buffer) == 66_000
            assert transport.drained
            transport.close()
    finally:
        tls._context.cache_clear()


def received(sock: Any) -> int:
    """Return how many unread bytes the kernel holds."""
    (found,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4))
    return int(found)


def wait_until_received(sock: Any, size: int) -> None:
    """Wait until the kernel holds this many unread bytes."""
    wait_until(lambda: received(sock) >= size, f"{size} bytes", SECONDS)
