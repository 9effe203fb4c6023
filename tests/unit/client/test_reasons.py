"""What `disconnected` says about a connection that cannot be opened."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from peatio_client import Disconnected
from peatio_client._reasons import failure

from tests.support.certificate import Certificate
from tests.support.servers import free_port
from tests.unit.client.served import KINDS, Either, gateway, play

both = pytest.mark.parametrize("kind", KINDS)


def reason(kind: str, url: str, **options: Any) -> str:
    """The reason of the first attempt."""

    async def scenario(client: Either) -> None:
        async def note(end: Disconnected) -> None:
            reasons.append(end.reason)

        client.on("disconnected", note)
        while not reasons:
            with pytest.raises(TimeoutError):
                await client.next(0.01)

    reasons = list[str]()
    play(kind, url, scenario, **{"proxy": None, **options})
    return reasons[0]


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_refuses(kind: str, host: str) -> None:
    port = free_port()
    assert reason(kind, f"ws://{host}:{port}/").startswith(f"{host}:{port} refuses connections; is this the port")


@both
def test_an_origin_that_is_not_allowed(kind: str) -> None:
    with gateway() as server:
        server.refusal = (403, "text/plain; charset=utf-8", "This origin is not among API_CORS_ORIGINS.\n")
        found = reason(kind, server.url, headers={"Origin": "https://my.page"})
        assert found == "HTTP 403: This origin is not among API_CORS_ORIGINS. (Origin: https://my.page)"
        server.refusal = (404, "text/html", "<h1>no</h1>")
        assert reason(kind, server.url) == "HTTP 404: no gateway at this path; check the address"


@both
@pytest.mark.parametrize("location", ["https://status.example/", "/login"])
def test_a_redirect_is_not_followed(kind: str, location: str) -> None:
    with gateway() as server:
        server.refusal, server.location = (302, "text/html", "<h1>maintenance</h1>"), location
        found = reason(kind, server.url)
    assert found == "HTTP 302: a redirect, which the client does not follow; check the address"
    assert len(server.headers) == 1, "the token is sent to the given address only"


@both
def test_tls(kind: str, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.cert, certificate.key)
    with gateway(tls) as server:
        found = reason(kind, server.url)
        assert found.startswith(f"TLS: the certificate of localhost:{server.port} is not valid here: self-signed")
        plain = server.url.replace("wss://", "ws://")
        assert "does it expect wss:// instead of ws://?" in reason(kind, plain)
    with gateway() as server:
        assert "expect ws:// instead of wss://?" in reason(kind, server.url.replace("ws://", "wss://"))


@both
def test_a_proxy_that_refuses(kind: str) -> None:
    with gateway() as server:
        found = reason(kind, "wss://gateway.example/", proxy=f"http://127.0.0.1:{server.port}")
    assert found.startswith("the proxy does not connect to gateway.example:443: ")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS: the host of a.example:443 cannot be resolved: Name"),
        (TimeoutError(), "no answer from a.example:443 within 10 s"),
        (OSError(113, "No route to host"), "cannot connect to a.example:443: [Errno 113] No route to host"),
        (EOFError(), "a.example:443 is not a WebSocket server: "),
        (RuntimeError(), "cannot connect to a.example:443: "),
    ],
)
def test_others(error: Exception, expected: str) -> None:
    found = failure(error, "wss://user:secret@a.example/?key=secret", 10)
    assert found.startswith(expected)
    assert "secret" not in found
