"""A gateway in the process of a test, with clients that are really connected."""

from __future__ import annotations

import contextlib
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus

from peatio_ws import Gateway, testing


def chatting(**variables: str) -> Gateway:
    """A gateway with a handler that stays for as long as its client does."""
    gateway = testing.gateway(**variables)

    @gateway.websocket("/")
    def handler(ws: Any) -> None:
        ws.send("here")
        ws.receive()

    return gateway


def ends(client: testing.Client) -> int:
    """The code with which a connection has ended, or ends once its client says something."""
    with contextlib.suppress(ConnectionClosed):
        client.send("bye")
    return client.closed()[0]


def status_of(server: testing.Server, path: str = "/", **headers: str) -> int:
    """Of the answer to a handshake."""
    try:
        server.connect(path, **headers)
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101
