"""A small gateway for the clients of `clients/python`, and one interface to both of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from peatio_client import AsyncPeatioClient, Event, PeatioClient
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

WAIT = 30.0
KINDS = ("blocking", "asyncio")


class Gateway:
    """Authenticates every client, answers requests as `reply` says, and sends what a test tells it to.

    Attributes:
        url: its address.
        headers: of each handshake.
        reply: returns the frames for a message.
        refusal: status, type and text of the answer to handshakes; None to accept them.
        location: to which that answer redirects.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.headers: list[dict[str, str]] = []
        self.reply: Callable[[dict[str, Any]], list[Any]] = lambda _: []
        self.refusal: tuple[int, str, str] | None = None
        self.location = ""
        self._clients: list[ServerConnection] = []
        self._server = serve(self._handle, "127.0.0.1", 0, ssl=tls, process_request=self._refuse)
        self.port: int = self._server.socket.getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://localhost:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _refuse(self, client: ServerConnection, request: Request) -> Response | None:
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        if self.refusal is None:
            return None
        status, kind, text = self.refusal
        response = client.respond(status, text)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = kind
        if self.location:
            response.headers["Location"] = self.location
        return response

    def _handle(self, client: ServerConnection) -> None:
        self._clients.append(client)
        with contextlib.suppress(ConnectionClosed):
            success = {"message": "subscribed", "streams": ["order", "trade"]}
            client.send(json.dumps({"success": success, "resume": {"cursor": "c0", "complete": True}}))
            for message in client:
                for frame in self.reply(json.loads(message)):
                    if frame is None:
                        client.close(1012, "restart")
                    else:
                        client.send(json.dumps(frame))

    def push(self, *numbers: int) -> None:
        """Send orders with these ids on the last connection."""
        for number in numbers:
            self._clients[-1].send(json.dumps({"order": {"id": number}, "cursor": f"c{number}"}))

    def stop(self) -> None:
        self._server.shutdown()
        for client in self._clients:
            client.close()
        self._thread.join(WAIT)


@contextlib.contextmanager
def gateway(tls: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    server = Gateway(tls)
    try:
        yield server
    finally:
        server.stop()


class Either:
    """A client of this kind, with the interface of the asyncio client."""

    def __init__(self, kind: str, url: str, token: Any = "token", **options: Any) -> None:
        self._blocking = kind == "blocking"
        self.client: Any = (PeatioClient if self._blocking else AsyncPeatioClient)(url, token, **options)

    def on(self, name: str, callback: Callable[[Any], Awaitable[object]]) -> None:
        self.client.on(name, (lambda what: _at_once(callback(what))) if self._blocking else callback)

    async def next(self, timeout: float | None = WAIT) -> Event | None:
        return await self._do(self.client.next(timeout))

    async def request(self, event: str, fields: Any = None, timeout: float = WAIT) -> Any:
        return await self._do(self.client.request(event, fields, timeout))

    async def close(self) -> None:
        await self._do(self.client.close())

    async def _do(self, result: Any) -> Any:
        return result if self._blocking else await result


def _at_once(awaitable: Any) -> object:
    """Run a coroutine that does not wait."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def play(
    kind: str, url: str, scenario: Callable[[Either], Awaitable[None]], token: Any = "token", **options: Any
) -> None:
    """Run a scenario with a client of this kind, and close the client."""

    async def run() -> None:
        client = Either(kind, url, token, **options)
        try:
            await asyncio.wait_for(scenario(client), WAIT)
        finally:
            await client.close()

    asyncio.run(run())
