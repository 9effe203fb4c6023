"""The connection of the asyncio client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from peatio_client._aio_asking import Asked, awaited, look_at
from peatio_client._endings import LOST, Ended
from peatio_client._lines import BACKLOG_FULL, HEADERS_SECONDS, MOST_BACKLOG, Options, checked, ended, unredirected
from peatio_client._requests import NOT_CONNECTED, Requests, answer
from peatio_client.events import NoToken


class Connection(ClientConnection):
    """A connection that follows no redirects."""

    async def handshake(self, *args: Any, **options: Any) -> None:
        try:
            await super().handshake(*args, **options)
        except InvalidStatus as refusal:
            raise unredirected(refusal) from None


class Line:
    """The current connection of a client, if there is one.

    Attributes:
        gateway: the connection.
        headers: the function for headers.
    """

    def __init__(self, options: Options) -> None:
        self.gateway: ClientConnection | None = None
        self.headers = Asked("function for headers", self._given)
        self._options = options
        self._opening: asyncio.Task[None] | None = None
        self._requests = Requests()
        self._reading = asyncio.Lock()
        self._backlog = deque[str]()  # frames that a request has read

    async def open(self, address: str, headers: dict[str, str]) -> None:
        """Raise `Ended` if there is no connection, and what the function for headers raises. If this is cancelled, the
        attempt continues, and the next call has its result."""
        if (opening := self._opening) is None:
            opening = self._opening = asyncio.ensure_future(self._open(address, headers))
            opening.add_done_callback(look_at)
        await asyncio.wait([opening])
        self._opening = None
        if opening.cancelled():
            raise Ended(LOST, "the attempt to connect was cancelled")
        opening.result()

    async def _open(self, address: str, headers: dict[str, str]) -> None:
        given = await self.headers.result(HEADERS_SECONDS)
        if given is None:
            raise NoToken(f"no headers within {HEADERS_SECONDS:g} s")
        headers = {**given, **headers}
        try:
            self.gateway = await connect(address, create_connection=Connection, **self._options.of_library(headers))
        except (OSError, EOFError, InvalidHandshake, ConnectionClosed) as error:
            raise self._options.not_opened(error, address, headers) from error

    async def _given(self) -> Mapping[str, str]:
        """Return the additional headers of the next handshake."""
        return checked(await awaited(self._options.given()))

    async def receive(self, seconds: float) -> str | None:
        """Return the next frame; None after `seconds`, or earlier."""
        try:
            async with asyncio.timeout(seconds), self._reading:
                if not self._backlog:
                    await self._read()
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise ended(closed) from closed
        return self._backlog.popleft() if self._backlog else None

    async def send(self, text: str) -> None:
        try:
            await self._connection().send(text)
        except ConnectionClosed as closed:
            raise ended(closed) from closed

    async def request(self, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message to a handler, and return its answer. Read frames meanwhile, unless the course reads them."""
        answered: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()

        def settle(frame: dict[str, Any] | None) -> None:
            if not answered.done():
                answered.set_result(frame)

        if (gateway := self.gateway) is None:
            raise ConnectionError(NOT_CONNECTED)
        number, text = self._requests.ask(event, fields, settle)
        try:
            await gateway.send(text)
            while not answered.done():
                async with self._reading:
                    if len(self._backlog) >= MOST_BACKLOG:
                        raise TimeoutError(BACKLOG_FULL)
                    if not answered.done():
                        await self._read()
        except (ConnectionClosed, Ended):
            settle(None)
        finally:
            self._requests.forget(number)
        return answer(await answered)

    async def hang_up(self) -> None:
        """Close the connection with a closing handshake, or stop connecting. Idempotent."""
        if self._opening is not None:
            self._opening.cancel()
        if (gateway := self.gateway) is not None:
            await gateway.close()
            self.gateway = None
        self._backlog.clear()
        self._requests.lose()

    async def _read(self) -> None:
        """Read a frame for the course, or for a request."""
        text = str(await self._connection().recv())
        if not self._requests.take(text):
            self._backlog.append(text)

    def _connection(self) -> ClientConnection:
        if (gateway := self.gateway) is None:  # closed in the meantime
            raise Ended(1000, "")
        return gateway
