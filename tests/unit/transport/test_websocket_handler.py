"""The HTTP side of connections, under gevent's own server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from peatio_ws import testing
from peatio_ws.transport.websocket_handler import Handler
from tests.support.raw_client import WAIT, RawClient
from tests.support.servers import wait_until
from tests.unit.samples import settings


class Page:
    """A large answer that reports when the server is done with it."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    def close(self) -> None:
        self.over.set()


def test_unread_answer_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "settings", settings(WEBSOCKET_SEND_TIMEOUT="0.2"))
    page = Page()
    with testing.serve(page) as server, RawClient(server.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert page.over.wait(WAIT)


def test_closed_connection_is_not_kept_in_memory() -> None:
    with testing.serve(testing.gateway()) as server:
        before = set(Handler.idle)
        for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with RawClient(server.port) as client:
                client.send(sent)
                client.finish()
                client.read_on()
            wait_until(lambda: set(Handler.idle) == before, "nothing is kept in memory")
