"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from ssl import SSLContext
from typing import Any, Literal, Self

from websockets.exceptions import ConnectionClosed

from peatio_client._aio_asking import Asked, awaited, look_at
from peatio_client._aio_line import Line
from peatio_client._callbacks import Callback
from peatio_client._client import Client, unanswered
from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait, rest
from peatio_client._credentials import checked
from peatio_client._endings import LONGEST_PAUSE
from peatio_client._lines import CLOSE_SECONDS, Options
from peatio_client.books import Book, Depth, Every, View
from peatio_client.events import Event, StreamName


class AsyncPeatioClient(Client):
    """A client that receives a member's orders and trades and any other streams, and reconnects by itself.

    Like `PeatioClient`, on one event loop. Callbacks and `token` may be coroutine functions. The client awaits
    callbacks one after the other, and reads nothing in the meantime; while it awaits `token`, events continue.

    If a loop is cancelled while it waits (`asyncio.wait_for(anext(client), 5)`), no event is lost, and the next loop
    continues; it begins with the callback that was cancelled, if one was. `close()`, leaving `async with` and
    cancelling `run()` end the connection.

    Args:
        token, headers: as for `PeatioClient`; the function may be a coroutine function.
        url, streams, cursor, silence, authenticated, ssl, proxy, books, every, depth, longest_pause: as for
            `PeatioClient`.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        streams: Sequence[StreamName] = (),
        cursor: str | None = None,
        silence: float = 60.0,
        *,
        authenticated: Literal["by the proxy"] | None = None,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None = None,
        ssl: SSLContext | None = None,
        proxy: str | Literal[True] | None = True,
        books: Sequence[str] = (),
        every: Every | None = None,
        depth: Depth | None = None,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        options = Options(silence, headers or {}, ssl, proxy, longest_pause)
        super().__init__(url, token, streams, cursor, authenticated, options, books, View(every, depth))
        self._line = Line(options)
        self._token = token
        self._asked = Asked("token function", self._give_token)
        self._stop = asyncio.Event()
        self._speaking = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None  # speaks, when the pace allows
        self._pending: asyncio.Task[Event[Any]] | None = None  # the event that `next` waited for
        self._running: Doing | None = None
        self._command: Command | None = None  # the current command, or the one that was cancelled
        # Of the current command: the callbacks to call after this one, which may have been cancelled.
        self._calling: Iterator[Callback] | None = None
        self._callback: Callback | None = None
        self._busy = False

    async def run(self) -> None:
        """Run the callbacks until `close()`.

        Raises:
            Refused: reconnecting would not help.
            Exception: an exception raised by a callback, or by the token function.
        """
        try:
            async for _ in self:
                pass
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():  # else a callback was cancelled
                await self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[Any]:
        if self._pending is None:
            return await self._advance()
        await asyncio.wait([self._pending])  # keeps its event if this is cancelled
        pending, self._pending = self._pending, None
        return pending.result()

    async def next(self, timeout: float | None = None) -> Event[Any] | None:
        """Run the callbacks until the next event, and return it; None after `close()`.

        Args:
            timeout: seconds; None to wait without a limit.

        Raises:
            TimeoutError: there was no event in this time. No event is lost: the next call returns it.
            Refused, Exception: as for `run`.
        """
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._advance())
            self._pending.add_done_callback(look_at)
        done, _ = await asyncio.wait([self._pending], timeout=timeout)
        if not done:
            raise TimeoutError(f"no event within {timeout:g} s")
        pending, self._pending = self._pending, None
        try:
            return pending.result()
        except StopAsyncIteration:
            return None

    async def _advance(self) -> Event[Any]:
        if self._busy:
            raise RuntimeError("another task is already waiting for this client's next event")
        self._busy = True
        try:
            return await self._next()
        except asyncio.CancelledError:
            raise  # the next call repeats the command of this one
        except BaseException:
            self._running = self._command = self._calling = self._callback = None
            await self._line.hang_up()
            raise
        finally:
            self._busy = False

    async def _next(self) -> Event[Any]:
        running = self._running = self._running or self._course.run()
        command = self._command
        if command is None or isinstance(command, Receive):  # a course accepts that there is no frame yet
            command = _step(running.send, None)
        while not isinstance(command, Emit):
            self._command = command
            command = await self._go_on(running, command)
        self._command = None
        self._note(command)
        return command.event

    async def request(
        self, event: str, fields: Mapping[str, Any] | None = None, timeout: float = 10.0
    ) -> dict[str, Any]:
        """Send a message to a handler of the gateway, and return its answer. Events that arrive before the answer
        follow as usual. Callbacks and all tasks may call it.

        Args:
            event: name of the handler.
            fields: the other fields of the message.
            timeout: seconds.

        Raises:
            RequestFailed: the answer is an error.
            ConnectionError: there is no connection, or it ended before the answer.
            TimeoutError: there was no answer in this time.
            ValueError: `event` is `subscribe` or `unsubscribe`, for which there are methods.
        """
        try:
            async with asyncio.timeout(timeout):
                while seconds := self._turn():
                    await asyncio.sleep(seconds)
                return await self._line.request(event, fields or {})
        except TimeoutError as error:
            raise unanswered(event, timeout, error) from None

    async def subscribe(self, *streams: StreamName) -> None:
        """Subscribe to more streams, now and after each reconnection.

        Raises:
            ValueError: a private stream without a token.
        """
        self._course.subscribe(streams)
        await self._speak()

    async def unsubscribe(self, *streams: StreamName) -> None:
        """Unsubscribe from streams, now and after each reconnection."""
        self._course.unsubscribe(streams)
        await self._speak()

    async def book(self, market: str, every: Every | None = None, depth: Depth | None = None) -> Book:
        """Maintain the order book of a market, and return it. If the client has it already, change its pace and depth.

        Args:
            market: `btcusd`, or the name of another pair of streams without `-snap` and `-inc`.
            every: milliseconds between two changes, at least: 100, 250, 500, 1000, 2000 or 5000; 0 for each change.
            depth: 1, 5, 10, 20 or 50 levels of each side; None for the whole book. Without `every` and `depth`, those
                of the client apply.

        Raises:
            ValueError: the gateway has no such pace or depth.
        """
        book = self._course.book(market, every, depth)
        await self._speak()
        return book

    async def close(self) -> None:
        """End the client, with a closing handshake if it is connected. Idempotent."""
        self._course.close()
        self._stop.set()
        self._asked.give_up()
        self._line.headers.give_up()
        if self._later is not None:
            self._later.cancel()
        await self._line.hang_up()
        if self._pending is not None and self._pending is not asyncio.current_task():
            await asyncio.wait([self._pending], timeout=CLOSE_SECONDS)  # unless a callback takes longer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _go_on(self, running: Doing, command: Command) -> Command:
        began = time.monotonic()
        try:
            result = await self._do(command)
        except asyncio.CancelledError:
            self._command = rest(command, time.monotonic() - began)
            raise
        except BaseException as error:
            return _step(running.throw, error)
        return _step(running.send, result)

    async def _do(self, command: Command) -> Any:
        self._note(command)
        match command:
            case AskToken(seconds):
                return await self._asked.result(seconds)
            case Open(address, headers):
                await self._line.open(address, headers)
            case Receive(seconds):
                return await self._line.receive(seconds)
            case Send(text):
                await self._line.send(text)
            case Speak():
                await self._speak()
            case Shut():
                await self._line.hang_up()
            case Wait(seconds):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), seconds)
            case Tell(name, what):
                self._calling = self._calling or self._called(name, what)
                if self._callback is not None and not self._callbacks.has(name, self._callback):
                    self._callback = None  # `off` has removed it
                while (callback := self._callback or next(self._calling, None)) is not None:
                    self._callback = callback
                    await awaited(callback(what))
                    self._callback = None
                self._calling = None
        return None

    async def _give_token(self) -> str:
        return checked(await awaited(self._token() if callable(self._token) else self._token))

    async def _speak(self) -> None:
        """Send the pending changes of streams. What the pace does not allow yet is sent later; if the connection has
        just ended, it is sent on the next one."""
        async with self._speaking:
            with contextlib.suppress(ConnectionClosed):
                seconds = 0.0
                while not seconds and (gateway := self._line.gateway) is not None:
                    text, seconds = self._course.next_message()
                    if text is not None:
                        await gateway.send(text)
                if 0 < seconds < math.inf and (self._later is None or self._later.done()):
                    self._later = asyncio.ensure_future(self._speak_later(seconds))

    async def _speak_later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._later = None
        await self._speak()


def _step(advance: Callable[[Any], Command], with_what: Any) -> Command:
    try:
        return advance(with_what)
    except StopIteration:  # a coroutine must not raise it
        raise StopAsyncIteration from None
