"""The blocking client, based on `websockets.sync`."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext
from typing import Any, Literal, Self

from websockets.exceptions import ConnectionClosed

from peatio_client._asking import Asked
from peatio_client._blocking_line import Line
from peatio_client._client import Client, unanswered
from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._endings import LONGEST_PAUSE
from peatio_client._lines import Options
from peatio_client.books import Book, Depth, Every, View
from peatio_client.events import Event, StreamName


class PeatioClient(Client):
    """A client that receives a member's orders and trades and any other streams, and reconnects by itself.

    `run()`, `next()` and the loop belong to one thread. All other methods may be called from any thread and from
    callbacks.

    Args:
        url: address of the gateway.
        token: the session token, or a function that returns it, a fresh one if possible. The client calls the function
            for each connection and before the token expires, on a separate thread, one call at a time; events arrive
            in the meantime. `NoToken` from it is reported as an "error", and the client asks again later; any other
            exception ends the client. None for public streams only.
        streams: streams to subscribe to. Without any, a member's `order` and `trade`.
        cursor: cursor of the last event that an earlier process handled; None to start now.
        silence: seconds without a sign of life after which a connection is dead.
        authenticated: `by the proxy` if a proxy in front of the gateway adds the token, for example for a cookie in
            `headers`.
        headers: additional headers of the handshake, or a function that returns them. The client calls it for each
            connection, on the thread of `run()` or of the loop, so that an API key can sign each handshake. Its
            exceptions mean the same as those of `token`.
        ssl: TLS context for `wss://`.
        proxy: address of a proxy; True for the one from the environment (`HTTPS_PROXY`), None for none.
        books: markets whose order books to maintain from the start, as `book` does.
        every, depth: pace and depth of all books for which `book` is called without them; see there.
        longest_pause: the longest pause before reconnecting, in seconds, 0.5 at least. A delay that the gateway asked
            for is added.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | None = None,
        streams: Sequence[StreamName] = (),
        cursor: str | None = None,
        silence: float = 60.0,
        *,
        authenticated: Literal["by the proxy"] | None = None,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
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
        self._asked = None if token is None else Asked(token)
        self._stop = threading.Event()
        self._speaking = threading.Lock()
        self._later: threading.Timer | None = None  # speaks, when the pace allows
        self._running: Doing | None = None
        self._command: Command | None = None  # the command that `next` left at its timeout

    def run(self) -> None:
        """Run the callbacks until `close()`.

        Raises:
            Refused: reconnecting would not help.
            Exception: an exception raised by a callback, or by the token function.
        """
        for _ in self:
            pass

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event[Any]:
        return self._advance(math.inf)

    def next(self, timeout: float | None = None) -> Event[Any] | None:
        """Run the callbacks until the next event, and return it; None after `close()`.

        Args:
            timeout: seconds; None to wait without a limit. Opening a connection is not interrupted (10 s at most).

        Raises:
            TimeoutError: there was no event in this time. No event is lost.
            Refused, Exception: as for `run`.
        """
        try:
            return self._advance(math.inf if timeout is None else time.monotonic() + timeout)
        except StopIteration:
            return None
        except _Late:
            raise TimeoutError(f"no event within {timeout:g} s") from None

    def _advance(self, deadline: float) -> Event[Any]:
        self._line.reader = threading.get_ident()
        # Kept, so that a new loop continues where the last one was left.
        running = self._running = self._running or self._course.run()
        try:
            command = self._command or running.send(None)
            self._command = None
            while not isinstance(command, Emit):
                command = self._go_on(running, command, deadline)
                if isinstance(command, Receive | Wait | AskToken) and time.monotonic() >= deadline:
                    self._command = command
                    raise _Late
            self._note(command)
            return command.event
        except _Late:
            raise
        except BaseException:
            self._running = self._command = None
            self._line.hang_up()
            raise

    def _go_on(self, running: Doing, command: Command, deadline: float) -> Command:
        left, rest = max(0.0, deadline - time.monotonic()), 0.0
        if isinstance(command, Receive | Wait | AskToken) and command.seconds > left:
            rest = command.seconds - left
            command = command._replace(seconds=left)
        try:
            result = self._do(command)
        except BaseException as error:
            return running.throw(error)
        if rest and result is None and isinstance(command, Wait | AskToken) and not self._course.closed:
            self._command = command._replace(seconds=rest)
            raise _Late
        return running.send(result)

    def request(self, event: str, fields: Mapping[str, Any] | None = None, timeout: float = 10.0) -> dict[str, Any]:
        """Send a message to a handler of the gateway, and return its answer. Events that arrive before the answer
        follow as usual. Call it in callbacks, between the events of the loop, or on another thread than `run()`.

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
        deadline = time.monotonic() + min(timeout, threading.TIMEOUT_MAX)
        try:
            while seconds := self._turn():
                if time.monotonic() + seconds > deadline:
                    raise TimeoutError
                self._stop.wait(seconds)
            return self._line.request(event, fields or {}, deadline)
        except TimeoutError as error:
            raise unanswered(event, timeout, error) from None

    def subscribe(self, *streams: StreamName) -> None:
        """Subscribe to more streams, now and after each reconnection.

        Raises:
            ValueError: a private stream without a token.
        """
        self._course.subscribe(streams)
        self._speak()

    def unsubscribe(self, *streams: StreamName) -> None:
        """Unsubscribe from streams, now and after each reconnection."""
        self._course.unsubscribe(streams)
        self._speak()

    def book(self, market: str, every: Every | None = None, depth: Depth | None = None) -> Book:
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
        self._speak()
        return book

    def close(self) -> None:
        """End the client, with a closing handshake if it is connected. Idempotent."""
        self._course.close()
        self._stop.set()
        if self._asked is not None:
            self._asked.give_up()
        with self._speaking:
            if self._later is not None:
                self._later.cancel()
        self._line.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn(self) -> float:
        with self._speaking:
            return super()._turn()

    def _do(self, command: Command) -> Any:
        self._note(command)
        match command:
            case AskToken(seconds):
                assert self._asked is not None
                return self._asked.token(seconds)
            case Open(address, headers):
                self._line.open(address, headers)
            case Receive(seconds):
                return self._line.receive(seconds)
            case Send(text):
                self._line.send(text)
            case Speak():
                self._speak()
            case Shut():
                self._line.hang_up()
            case Wait(seconds):
                self._stop.wait(seconds)
            case Tell(name, what):
                for callback in self._called(name, what):
                    callback(what)
        return None

    def _speak(self) -> None:
        """Send the pending changes of streams. What the pace does not allow yet is sent later; if the connection has
        just ended, it is sent on the next one."""
        with self._speaking, contextlib.suppress(ConnectionClosed):
            seconds = 0.0
            while not seconds and (gateway := self._line.gateway) is not None:
                text, seconds = self._course.next_message()
                if text is not None:
                    gateway.send(text)
            if 0 < seconds < math.inf and (self._later is None or not self._later.is_alive()):
                self._later = threading.Timer(seconds, self._speak_later)
                self._later.daemon = True
                self._later.start()

    def _speak_later(self) -> None:
        with self._speaking:
            self._later = None
        self._speak()


class _Late(Exception):
    """The timeout of `next` passed."""
