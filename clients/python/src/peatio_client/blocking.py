"""The blocking client, on the threads of `websockets.sync`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from peatio_client import _lines
from peatio_client._client import Client
from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Tell, Wait
from peatio_client.books import Book
from peatio_client.events import Event


class PeatioClient(Client):
    """A member's orders and trades, and streams, over as many connections as it takes.

    `run()` and the loop belong to one thread; everything else may be called from any, and from callbacks.

    Args:
        url: of the gateway.
        token: called for each connection, and before the token runs out; gives the session's token, a fresh one if it
            can. What it raises is told as an "error" and it is asked again later, but for `Refused`. None for public
            streams only.
        streams: to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol is spoken. Without any
            it is the classic one, with all orders and trades of the member.
        cursor: of the last event that an earlier process took; None to begin now.
        silence: seconds without a sign of life after which a line is dead.

    Raises:
        ValueError: these cannot work together.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str] | None = None,
        streams: Sequence[str] = (),
        cursor: str | None = None,
        silence: float = 60.0,
    ) -> None:
        super().__init__(url, token, streams, cursor, silence)
        self._token = token
        self._stop = threading.Event()
        self._line = contextlib.ExitStack()  # closes the connection
        self._gateway: ClientConnection | None = None
        self._running: Doing | None = None

    def run(self) -> None:
        """Serve the callbacks until `close()`.

        Raises:
            Refused: coming back would not help.
            Exception: whatever a callback raised.
        """
        for _ in self:
            pass

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        # Kept, so that a loop may be left, and another one goes on where it was.
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

    def subscribe(self, *streams: str) -> None:
        """More streams, now and after each return.

        Raises:
            ValueError: private ones without a token, or in the classic protocol.
        """
        self._say(self._course.subscribe(streams))

    def unsubscribe(self, *streams: str) -> None:
        """Fewer of them."""
        self._say(self._course.unsubscribe(streams))

    def book(self, market: str) -> Book:
        """Have a market's book kept: `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`."""
        book, text = self._course.book(market)
        self._say(text)
        return book

    def close(self) -> None:
        """End it, with a closing handshake where there is a connection; harmless a second time."""
        self._course.close()
        self._stop.set()
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
            case AskToken():
                assert self._token is not None
                return self._token()
            case Open(address, headers):
                self._open(address, headers)
            case Receive(seconds):
                return self._receive(seconds)
            case Send(text):
                self._send(text)
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
        assert self._gateway is not None
        try:
            return str(self._gateway.recv(timeout=seconds))
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    def _send(self, text: str) -> None:
        assert self._gateway is not None
        try:
            self._gateway.send(text)
        except ConnectionClosed as closed:
            raise _lines.ended(closed) from closed

    def _say(self, text: str | None) -> None:
        """Outside of the course; where the connection has just ended, it goes with the next."""
        if text is not None and (gateway := self._gateway) is not None:
            with contextlib.suppress(ConnectionClosed):
                gateway.send(text)

    def _hang_up(self) -> None:
        self._line.close()
        self._gateway = None
