"""The blocking client, based on `websockets.sync`."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from peatio_client import _lines
from peatio_client._client import Client
from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._endings import Ended
from peatio_client.books import Book
from peatio_client.events import Event, StreamName


class PeatioClient(Client):
    """A client that receives a member's orders and trades, and streams, and reconnects by itself.

    `run()` and the loop belong to one thread. All other methods may be called from any thread and from callbacks.

    Args:
        url: address of the gateway.
        token: returns the session token, a fresh one if possible. The client calls it for each connection and before
            the token expires, on a separate thread, one call at a time; events arrive in the meantime. An exception is
            reported as an "error", and the client calls it again later, except for `Refused`. None for public streams
            only.
        streams: streams to subscribe to, private ones (`order`, `trade`) too. With streams the client uses Ranger's
            protocol; without, the classic one, with all orders and trades of the member.
        cursor: cursor of the last event that an earlier process handled; None to start now.
        silence: seconds without a sign of life after which a connection is dead.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str] | None = None,
        streams: Sequence[StreamName] = (),
        cursor: str | None = None,
        silence: float = 60.0,
    ) -> None:
        super().__init__(url, token, streams, cursor, silence)
        self._token, self._asked = token, None if token is None else _Asked(token)
        self._stop = threading.Event()
        self._speaking = threading.Lock()
        self._later: threading.Timer | None = None  # speaks, when the pace allows
        self._line = contextlib.ExitStack()  # closes the connection
        self._gateway: ClientConnection | None = None
        self._running: Doing | None = None

    def run(self) -> None:
        """Run the callbacks until `close()`.

        Raises:
            Refused: reconnecting would not help.
            Exception: an exception raised by a callback.
        """
        for _ in self:
            pass

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event[Any]:
        # Kept, so that a new loop continues where the last one was left.
        running = self._running = self._running or self._course.run()
        try:
            command = running.send(None)
            while not isinstance(command, Emit):
                command = self._go_on(running, command)
            return command.event
        except BaseException:
            self._running = None
            self._hang_up()
            raise

    def subscribe(self, *streams: StreamName) -> None:
        """Subscribe to more streams, now and after each reconnection.

        Raises:
            ValueError: a private stream without a token, or in the classic protocol.
        """
        self._course.subscribe(streams)
        self._speak()

    def unsubscribe(self, *streams: StreamName) -> None:
        """Unsubscribe from streams, now and after each reconnection."""
        self._course.unsubscribe(streams)
        self._speak()

    def book(self, market: str) -> Book:
        """Maintain the order book of a market, and return it.

        Args:
            market: `btcusd`, or the name of another pair of streams without `-snap` and `-inc`.
        """
        book = self._course.book(market)
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
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _go_on(self, running: Doing, command: Command) -> Command:
        try:
            result = self._do(command)
        except BaseException as error:
            return running.throw(error)
        return running.send(result)

    def _do(self, command: Command) -> Any:
        match command:
            case AskToken(seconds):
                assert self._asked is not None
                return self._asked.token(seconds)
            case Open(address, headers):
                self._open(address, headers)
            case Receive(seconds):
                return self._receive(seconds)
            case Send(text):
                self._send(text)
            case Speak():
                self._speak()
            case Shut():
                self._hang_up()
            case Wait(seconds):
                self._stop.wait(seconds)
            case Tell(name, what):
                for callback in self._called(name, what):
                    callback(what)
        return None

    def _open(self, address: str, headers: dict[str, str]) -> None:
        try:
            self._gateway = self._line.enter_context(connect(address, **_lines.options(headers, self.silence)))
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise _lines.ended(error) from error

    def _receive(self, seconds: float) -> str | None:
        try:
            return str(self._connection().recv(timeout=seconds))
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    def _send(self, text: str) -> None:
        try:
            self._connection().send(text)
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    def _connection(self) -> ClientConnection:
        if (gateway := self._gateway) is None:  # closed in the meantime, by another thread or a callback
            raise Ended(1000, "")
        return gateway

    def _speak(self) -> None:
        """Send the pending changes of streams. What the pace does not allow yet is sent later; if the connection has
        just ended, it is sent on the next one."""
        with self._speaking, contextlib.suppress(ConnectionClosed):
            seconds = 0.0
            while not seconds and (gateway := self._gateway) is not None:
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

    def _hang_up(self) -> None:
        self._line.close()
        self._gateway = None


class _Asked:
    """Calls the token function on a separate thread, one call at a time.

    Args:
        give: the token function.
    """

    def __init__(self, give: Callable[[], str]) -> None:
        self._give, self._given_up = give, False
        self._answered: threading.Event | None = None  # of a running call, or an unused result
        self._token: str | None = None
        self._error: BaseException | None = None

    def token(self, seconds: float) -> str | None:
        """Return or raise the result of the function; None if it takes longer, or after `give_up`. A call that takes
        longer continues, and the next `token` returns its result."""
        if self._answered is None:
            self._token = self._error = None
            self._answered = threading.Event()
            threading.Thread(target=self._call, args=(self._answered,), name="peatio_client.token", daemon=True).start()
        if not self._answered.wait(seconds) or self._given_up:
            return None
        self._answered = None
        if self._error is not None:
            raise self._error
        return self._token

    def give_up(self) -> None:
        """Stop waiting for the result."""
        self._given_up = True
        if (answered := self._answered) is not None:
            answered.set()

    def _call(self, answered: threading.Event) -> None:
        try:
            self._token = self._give()
        except BaseException as error:
            self._error = error
        answered.set()
