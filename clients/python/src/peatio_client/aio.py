"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from peatio_client import _lines
from peatio_client._client import Client
from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._endings import Ended
from peatio_client.books import Book
from peatio_client.events import Event, StreamName


class AsyncPeatioClient(Client):
    """A client that receives a member's orders and trades, and streams, and reconnects by itself.

    Like `PeatioClient`, on one event loop. Callbacks and `token` may be coroutine functions. The client awaits
    callbacks one after the other, and reads nothing in the meantime; while it awaits `token`, events continue.

    If a loop is cancelled while it waits (`asyncio.wait_for(anext(client), 5)`), no event is lost, and the next loop
    continues. `close()`, leaving `async with` and cancelling `run()` end the connection.

    Args:
        url, token, streams, cursor, silence: as for `PeatioClient`.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str | Awaitable[str]] | None = None,
        streams: Sequence[StreamName] = (),
        cursor: str | None = None,
        silence: float = 60.0,
    ) -> None:
        super().__init__(url, token, streams, cursor, silence)
        self._token = token
        self._asked: asyncio.Task[str] | None = None  # for a token
        self._stop = asyncio.Event()
        self._speaking = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None  # speaks, when the pace allows
        self._gateway: ClientConnection | None = None
        self._running: Doing | None = None
        self._command: Command | None = None  # the current command, or the one that was cancelled
        self._busy = False

    async def run(self) -> None:
        """Run the callbacks until `close()`.

        Raises:
            Refused: reconnecting would not help.
            Exception: an exception raised by a callback.
        """
        try:
            async for _ in self:
                pass
        except asyncio.CancelledError:
            await self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[Any]:
        if self._busy:
            raise RuntimeError("another task waits for this client's next event")
        self._busy = True
        try:
            return await self._next()
        except asyncio.CancelledError:
            raise  # the next call repeats the command of this one
        except BaseException:
            self._running = self._command = None
            await self._hang_up()
            raise
        finally:
            self._busy = False

    async def _next(self) -> Event[Any]:
        running = self._running = self._running or self._course.run()
        command = self._command or _step(running.send, None)
        while not isinstance(command, Emit):
            self._command = command
            command = await self._go_on(running, command)
        self._command = None
        return command.event

    async def subscribe(self, *streams: StreamName) -> None:
        """Subscribe to more streams, now and after each reconnection.

        Raises:
            ValueError: a private stream without a token, or in the classic protocol.
        """
        self._course.subscribe(streams)
        await self._speak()

    async def unsubscribe(self, *streams: StreamName) -> None:
        """Unsubscribe from streams, now and after each reconnection."""
        self._course.unsubscribe(streams)
        await self._speak()

    async def book(self, market: str) -> Book:
        """Maintain the order book of a market, and return it.

        Args:
            market: `btcusd`, or the name of another pair of streams without `-snap` and `-inc`.
        """
        book = self._course.book(market)
        await self._speak()
        return book

    async def close(self) -> None:
        """End the client, with a closing handshake if it is connected. Idempotent."""
        self._course.close()
        self._stop.set()
        for task in (self._asked, self._later):
            if task is not None:
                task.cancel()
        await self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _go_on(self, running: Doing, command: Command) -> Command:
        try:
            result = await self._do(command)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return _step(running.throw, error)
        return _step(running.send, result)

    async def _do(self, command: Command) -> Any:
        match command:
            case AskToken(seconds):
                return await self._ask_for_token(seconds)
            case Open(address, headers):
                await self._open(address, headers)
            case Receive(seconds):
                return await self._receive(seconds)
            case Send(text):
                await self._send(text)
            case Speak():
                await self._speak()
            case Shut():
                await self._hang_up()
            case Wait(seconds):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), seconds)
            case Tell(name, what):
                for callback in self._called(name, what):
                    await _awaited(callback(what))
        return None

    async def _ask_for_token(self, seconds: float) -> str | None:
        """Call the token function, one call at a time. A call that takes longer continues; the next time returns its
        result."""
        assert self._token is not None
        if self._asked is None:
            self._asked = asyncio.ensure_future(_call(self._token))
        if seconds:
            await asyncio.wait([self._asked], timeout=seconds)
        else:
            await asyncio.sleep(0)
        if not self._asked.done() or self._asked.cancelled():  # by `close()`
            return None
        asked, self._asked = self._asked, None
        return asked.result()

    async def _open(self, address: str, headers: dict[str, str]) -> None:
        await self._hang_up()  # a connection of an attempt that was cancelled at the last moment
        try:
            self._gateway = await connect(address, **_lines.options(headers, self.silence))
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise _lines.ended(error) from error

    async def _receive(self, seconds: float) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                return str(await self._connection().recv())
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    async def _send(self, text: str) -> None:
        try:
            await self._connection().send(text)
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    def _connection(self) -> ClientConnection:
        if (gateway := self._gateway) is None:  # closed in the meantime
            raise Ended(1000, "")
        return gateway

    async def _speak(self) -> None:
        """Send the pending changes of streams. What the pace does not allow yet is sent later; if the connection has
        just ended, it is sent on the next one."""
        async with self._speaking:
            with contextlib.suppress(ConnectionClosed):
                seconds = 0.0
                while not seconds and (gateway := self._gateway) is not None:
                    text, seconds = self._course.next_message()
                    if text is not None:
                        await gateway.send(text)
                if 0 < seconds < math.inf and (self._later is None or self._later.done()):
                    self._later = asyncio.ensure_future(self._speak_later(seconds))

    async def _speak_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._later = None
        await self._speak()

    async def _hang_up(self) -> None:
        if (gateway := self._gateway) is not None:
            await gateway.close()
            self._gateway = None


def _step(advance: Callable[[Any], Command], with_what: Any) -> Command:
    try:
        return advance(with_what)
    except StopIteration:  # a coroutine must not raise it
        raise StopAsyncIteration from None


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _call(token: Callable[[], str | Awaitable[str]]) -> str:
    result: str = await _awaited(token())
    return result
