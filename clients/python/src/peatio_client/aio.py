"""The same client for asyncio."""

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
from peatio_client.events import Event


class AsyncPeatioClient(Client):
    """A member's orders and trades, and streams, over as many connections as it takes.

    As `PeatioClient`, on one event loop. Callbacks and `token` may be coroutine functions. Callbacks are awaited one
    after the other, and nothing is read meanwhile; `token` is awaited while events go on.

    A loop that is cancelled while it waits (`asyncio.wait_for(anext(client), 5)`) has taken nothing, and the next one
    goes on; `close()` ends the connection, and so does leaving `async with`, or cancelling `run()`.

    Args:
        url, token, streams, cursor, silence: as of `PeatioClient`.

    Raises:
        ValueError: these cannot work together.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str | Awaitable[str]] | None = None,
        streams: Sequence[str] = (),
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
        self._command: Command | None = None  # what is being done, or was when the task was cancelled
        self._busy = False

    async def run(self) -> None:
        """Serve the callbacks until `close()`.

        Raises:
            Refused: coming back would not help.
            Exception: whatever a callback raised.
        """
        try:
            async for _ in self:
                pass
        except asyncio.CancelledError:
            await self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._busy:
            raise RuntimeError("another task waits for this client's next event")
        self._busy = True
        try:
            return await self._next()
        except asyncio.CancelledError:
            raise  # and the next call does again what this one was about
        except BaseException:
            self._running = self._command = None
            await self._hang_up()
            raise
        finally:
            self._busy = False

    async def _next(self) -> Event:
        running = self._running = self._running or self._course.run()
        command = self._command or _step(running.send, None)
        while not isinstance(command, Emit):
            self._command = command
            command = await self._go_on(running, command)
        self._command = None
        return command.event

    async def subscribe(self, *streams: str) -> None:
        """More streams, now and after each return.

        Raises:
            ValueError: private ones without a token, or in the classic protocol.
        """
        self._course.subscribe(streams)
        await self._speak()

    async def unsubscribe(self, *streams: str) -> None:
        """Fewer of them."""
        self._course.unsubscribe(streams)
        await self._speak()

    async def book(self, market: str) -> Book:
        """Have a market's book kept: `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`."""
        book = self._course.book(market)
        await self._speak()
        return book

    async def close(self) -> None:
        """End it, with a closing handshake where there is a connection; harmless a second time."""
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
        """One call at a time; if it takes longer, the next time the same call counts."""
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
        await self._hang_up()  # of an attempt that was cancelled at the last moment
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
        if (gateway := self._gateway) is None:  # closed meanwhile
            raise Ended(1000, "")
        return gateway

    async def _speak(self) -> None:
        """Say what there is to say about streams, in the course or outside of it; what comes too soon is said later.
        Where the connection has just ended, it goes with the next."""
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
    except StopIteration:  # which no coroutine may raise
        raise StopAsyncIteration from None


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _call(token: Callable[[], str | Awaitable[str]]) -> str:
    result: str = await _awaited(token())
    return result
