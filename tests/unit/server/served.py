"""A gateway in the test's process, with real client connections."""

from __future__ import annotations

import contextlib
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_ws import Gateway, testing


def waiting_gateway(**variables: str) -> Gateway:
    """Return a gateway whose handler waits until its client sends something."""
    gateway = testing.gateway(**variables)

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.send("here")
        ws.receive()

    return gateway


def end_code(client: testing.Client) -> int:
    """Send a message, which ends the handler, and return the connection's close code."""
    with contextlib.suppress(ConnectionClosed):
        client.send("bye")
    return client.closed()[0]


def status_of(server: testing.Server, path: str = "/", **headers: str) -> int:
    """Return the status of the answer to a handshake."""
    try:
        server.connect(path, **headers)
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101
