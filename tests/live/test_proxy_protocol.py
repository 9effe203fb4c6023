"""Load balancers that send PROXY protocol headers, over TCP and TLS, and peers that only pretend to."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Signer
from tests.support.raw_client import RawClient, close
from tests.support.servers import wait_until
from tests.unit.transport.http.test_proxy_protocol import BAD, LOCAL, TCP6, UNSPECIFIED, V6, v1, v2

TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
LIMIT = 2
SECONDS = 1


@pytest.fixture(scope="module", params=["ws", "wss"])
def served(
    request: pytest.FixtureRequest, folder: Path, signer: Signer
) -> Iterator[tuple[GatewayProcess, ssl.SSLContext | None]]:
    certificate = Certificate(folder / f"proxied-{request.param}")
    own = {"WEBSOCKET_SSL_CERT": str(certificate.cert), "WEBSOCKET_SSL_KEY": str(certificate.key)}
    environ = {
        "AMQP_URL": "memory://",
        "WEBSOCKET_PROXY_PROTOCOL": "true",
        "TRUSTED_PROXIES": TRUSTED,
        "WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT),
        "WEBSOCKET_HANDSHAKE_TIMEOUT": str(SECONDS),
        **signer.environ,
        **(own if request.param == "wss" else {}),
    }
    gateway = GatewayProcess(folder, environ)
    yield gateway, certificate.trusted() if request.param == "wss" else None
    gateway.stop()


Connect = Callable[..., RawClient]


@pytest.fixture
def connect(served: tuple[GatewayProcess, ssl.SSLContext | None]) -> Iterator[Connect]:
    """Open a connection that begins with these bytes, before TLS."""
    gateway, tls = served
    with contextlib.ExitStack() as clients:

        def connect_one(header: bytes, source: str = TRUSTED) -> RawClient:
            return clients.enter_context(RawClient(gateway.port, tls, source=source, before=header))

        yield connect_one


def addresses(gateway: GatewayProcess) -> list[str]:
    return [line["address"] for line in gateway.events() if line["event"] == "connection closed"]


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (v1("203.0.113.1"), "203.0.113.1"),
        (v2(V6, TCP6), "2001:db8::7"),
        (v1("::ffff:203.0.113.2", kind="TCP6", to="::1"), "203.0.113.2"),
        (b"PROXY UNKNOWN\r\n", TRUSTED),
        (v2(b"", UNSPECIFIED, LOCAL), TRUSTED),
    ],
)
def test_address_in_the_header_is_the_client_s(
    served: tuple[GatewayProcess, ssl.SSLContext | None], connect: Connect, header: bytes, address: str
) -> None:
    gateway, _ = served
    before = addresses(gateway).count(address)
    with contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(connect(header)) for _ in range(LIMIT)]
        for client in clients:
            assert client.request().status == 101
        # A balancer's own connections, such as health checks, have no limit.
        assert connect(header).request().status == (101 if address == TRUSTED else 429)
        for client in clients:
            client.send(close(1000))
    wait_until(lambda: addresses(gateway).count(address) >= before + LIMIT, f"{address} in the log")


def test_header_of_a_stranger_is_not_read(
    connect: Connect, served: tuple[GatewayProcess, ssl.SSLContext | None]
) -> None:
    gateway, tls = served
    if tls is None:
        assert connect(v1("203.0.113.3"), STRANGER).request().status == 400
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(v1("203.0.113.3"), STRANGER)
    assert connect(b"", STRANGER).request().status == 101
    assert "203.0.113.3" not in gateway.log()


def test_headers_that_cannot_be_read_are_refused(
    connect: Connect, served: tuple[GatewayProcess, ssl.SSLContext | None]
) -> None:
    gateway, _ = served
    before = reached(gateway)
    for header in BAD:
        with opened(gateway.port, header) as client:
            with contextlib.suppress(OSError):  # the gateway may have closed the connection already
                client.shutdown(socket.SHUT_WR)
            assert ended(client)
    wait_until(lambda: reached(gateway) == before + len(BAD), "each is counted")
    assert connect(v1("203.0.113.4")).request().status == 101
    assert not gateway.tracebacks()
    lines = [line for line in gateway.events() if line.get("limit") == "proxy_header"]
    assert len(lines) == 1, "logged once a minute"
    assert lines[0]["address"] == TRUSTED


def test_half_a_header_ends_within_the_limit(served: tuple[GatewayProcess, ssl.SSLContext | None]) -> None:
    gateway, _ = served
    before = reached(gateway)
    halves = [b"", v1()[:20], v2(V6, TCP6)[:13], v2(V6, TCP6)[:-1]]
    with contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(opened(gateway.port, half)) for half in halves]
        assert all(map(ended, clients))
    assert reached(gateway) == before + len(halves)


def reached(gateway: GatewayProcess) -> float:
    return gateway.metric('peatio_ws_limits_reached_total{limit="proxy_header"}')


def opened(port: int, data: bytes) -> socket.socket:
    """Return a connection of the load balancer that begins with this."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(data)
    return client


def ended(client: socket.socket) -> bool:
    """Wait until the gateway closes a connection. Return whether it did so without an answer."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
