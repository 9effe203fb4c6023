"""The blocking client, on the threads of `websockets.sync`."""

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
from peatio_client.events import Event


class PeatioClient(Client):
    """A member's orders and trades, and streams, over as many connections as it takes.

    `run()` and the loop belong to one thread; everything else may be called from any, and from callbacks.

    Args:
        url: of the gateway.
        token: called for each connection, and before the token runs out; gives the session's token, a fresh one if it
            can. Called on a thread of its own, one call at a time, so that events go on while it waits. What it raises
            is told as an "error" and it is asked again later, but for `Refused`. None for public streams only.
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
        self._token, self._asked = token, None if token is None else _Asked(token)
        self._stop = threading.Event()
        self._speaking = threading.Lock()
        self._later: threading.Timer | None = None  # speaks, when the pace allows
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
        self._course.subscribe(streams)
        self._speak()

    def unsubscribe(self, *streams: str) -> None:
        """Fewer of them."""
        self._course.unsubscribe(streams)
        self._speak()

    def book(self, market: str) -> Book:
        """Have a market's book kept: `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`."""
        book = self._course.book(market)
        self._speak()
        return book

    def close(self) -> None:
        """End it, with a closing handshake where there is a connection; harmless a second time."""
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
        if (gateway := self._gateway) is None:  # closed meanwhile, by another thread or a callback
            raise Ended(1000, "")
        return gateway

    def _speak(self) -> None:
        """Say what there is to say about streams, in the course or outside of it; what comes too soon is said later.
        Where the connection has just ended, it goes with the next."""
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
    """A token that is asked for on a thread of its own, one call at a time.

    Args:
        give: what gives tokens.
    """

    def __init__(self, give: Callable[[], str]) -> None:
        self._give, self._given_up = give, False
        self._answered: threading.Event | None = None  # of the call under way, or of one that nobody has asked for yet
        self._token: str | None = None
        self._error: BaseException | None = None

    def token(self, seconds: float) -> str | None:
        """What it gives, or raises; None if it takes longer, or was given up. The next time the same call counts."""
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
        """Nobody waits for it any more."""
        self._given_up = True
        if (answered := self._answered) is not None:
            answered.set()

    def _call(self, answered: threading.Event) -> None:
        try:
            self._token = self._give()
        except BaseException as error:
            self._error = error
        answered.set()
