"""Accepting connections while all file descriptors of the process are in use."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from peatio_ws import testing
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.throttled_warnings import Throttle
from peatio_ws.server.gunicorn.accepting import AcceptingServer
from tests.support.descriptors import no_descriptors
from tests.support.raw_client import WAIT
from tests.support.servers import wait_until


def _answer(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "0"), ("Connection", "close")])
    return [b""]


def _serve() -> AcceptingServer:
    server = AcceptingServer(("127.0.0.1", 0), _answer, log=None)
    server.start()
    return server


def test_client_waits_for_a_free_descriptor_and_the_log_has_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "_limits", Throttle())
    server = testing._run(_serve)
    try:
        with socket.socket() as client, capture_logs() as lines:
            client.settimeout(WAIT)
            with no_descriptors():
                client.connect(("127.0.0.1", server.server_port))
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                wait_until(lambda: bool(lines), "the gateway has no descriptor for the client")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    finally:
        testing._run(lambda: server.stop(timeout=WAIT))
    assert [(line["limit"], "LimitNOFILE" in line["remedy"]) for line in lines] == [("open_files", True)]
    assert capfd.readouterr().err == ""
