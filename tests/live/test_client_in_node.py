"""The JavaScript client in Node: TLS, headers, and the reasons of connections that cannot be opened."""

from __future__ import annotations

import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import CLIENT
from tests.support.certificate import Certificate
from tests.unit.client.served import Gateway, gateway

PROGRAM = """
import { readFileSync } from "node:fs";
const { PeatioClient } = await import(process.argv[1]);
const { url, ca, ...options } = JSON.parse(process.argv[2]);
if (ca) options.tls = { ca: readFileSync(ca) };
const client = new PeatioClient(url, options);
client.on("disconnected", ({ reason }) => { console.log(reason); client.close(); });
client.on("connected", () => { console.log("connected"); client.close(); });
await client.run();
"""


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def say(url: str, **options: Any) -> str:
    """Return what a client says about its first connection."""
    given = json.dumps({"url": url, "authenticated": "by the proxy", **options})
    command = ["node", "--input-type=module", "-e", PROGRAM, "--", str(CLIENT / "peatio-client.mjs"), given]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def place(server: Gateway) -> str:
    return f"localhost:{server.port}"


def test_client_uses_headers_and_a_private_authority(
    compiler: None, certificate: Certificate, tls: ssl.SSLContext
) -> None:
    with gateway(tls) as server:
        assert say(server.url, ca=str(certificate.cert), headers={"Cookie": "session=1"}) == "connected"
    assert server.headers[0]["cookie"] == "session=1"


def test_client_says_what_is_wrong_with_tls(compiler: None, tls: ssl.SSLContext) -> None:
    with gateway(tls) as server:
        wrong = (
            f"TLS: the certificate of {place(server)} is not valid here: self-signed certificate; see the option tls"
        )
        assert say(server.url) == wrong
        plain = f"{place(server)} does not answer with HTTP; does it expect wss:// instead of ws://?"
        assert say(server.url.replace("wss://", "ws://")) == plain
    with gateway() as server:
        assert "expect ws:// instead of wss://?" in say(server.url.replace("ws://", "wss://"))


def test_client_shows_the_text_of_an_http_answer(compiler: None) -> None:
    with gateway() as server:
        server.refusal = (503, "text/plain", "This worker is full.\n")
        assert say(server.url) == "HTTP 503: This worker is full."
        server.refusal = (404, "text/html", "<h1>no</h1>")
        assert say(server.url) == "HTTP 404: no gateway at this path; check the address"
