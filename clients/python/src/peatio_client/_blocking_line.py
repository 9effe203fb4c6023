"""The connection of the blocking client."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from peatio_client._endings import Ended
from peatio_client._lines import BACKLOG_FULL, MOST_BACKLOG, Options, checked, ended, unredirected
from peatio_client._requests import NOT_CONNECTED, Requests, answer
from peatio_client._tls_socket import thread_safe


class Connection(ClientConnection):
    """A connection that follows no redirects."""

    def handshake(self, *args: Any, **options: Any) -> None:
        try:
            super().handshake(*args, **options)
        except InvalidStatus as refusal:
            raise unredirected(refusal) from None


class Line:
    """The current connection of a client, if there is one.

    Attributes:
        gateway: the connection.
        reader: the thread that reads frames.
    """

    def __init__(self, options: Options) -> None:
        self.gateway: ClientConnection | None = None
        self.reader: int | None = None
        self._options = options
        self._closing = contextlib.ExitStack()
        self._requests = Requests()
        self._backlog = deque[str]()  # frames that a request has read

    def open(self, address: str, headers: dict[str, str]) -> None:
        """Raise `Ended` if there is no connection, and what the function for headers raises."""
        headers = {**checked(self._options.given()), **headers}
        options = self._options.of_library(headers)
        if address.startswith("wss:"):
            options["ssl"] = thread_safe(self._options.ssl)
        try:
            self.gateway = self._closing.enter_context(connect(address, create_connection=Connection, **options))
        except (OSError, EOFError, InvalidHandshake, ConnectionClosed) as error:
            raise self._options.not_opened(error, address, headers) from error

    def receive(self, seconds: float) -> str | None:
        """Return the next frame; None after `seconds`, or earlier."""
        if self._backlog:
            return self._backlog.popleft()
        try:
            text = str(self._connection().recv(timeout=seconds))
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise ended(closed) from closed
        return None if self._requests.take(text) else text

    def send(self, text: str) -> None:
        try:
            self._connection().send(text)
        except ConnectionClosed as closed:
            raise ended(closed) from closed

    def request(self, event: str, fields: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Send a message to a handler, and return its answer. On the thread that reads frames, read them in the
        meantime. Raise `TimeoutError`, without a text if there is no answer by `deadline` (`time.monotonic`)."""
        answered, frames = threading.Event(), list[dict[str, Any] | None]()

        def settle(frame: dict[str, Any] | None) -> None:
            frames.append(frame)
            answered.set()

        if (gateway := self.gateway) is None:
            raise ConnectionError(NOT_CONNECTED)
        number, text = self._requests.ask(event, fields, settle)
        try:
            gateway.send(text)
            if threading.get_ident() == self.reader:
                self._read_until(gateway, answered, deadline)
            else:
                answered.wait(deadline - time.monotonic())
        except ConnectionClosed:
            settle(None)
        finally:
            self._requests.forget(number)
        if not frames:
            raise TimeoutError
        return answer(frames[0])

    def _read_until(self, gateway: ClientConnection, answered: threading.Event, deadline: float) -> None:
        while not answered.is_set():
            if len(self._backlog) >= MOST_BACKLOG:
                raise TimeoutError(BACKLOG_FULL)
            try:
                text = str(gateway.recv(timeout=max(0.0, deadline - time.monotonic())))
            except TimeoutError:
                return
            if not self._requests.take(text):
                self._backlog.append(text)

    def hang_up(self) -> None:
        """Close the connection with a closing handshake. Idempotent."""
        self._closing.close()
        self.gateway = None
        self._backlog.clear()
        self._requests.lose()

    def _connection(self) -> ClientConnection:
        if (gateway := self.gateway) is None:  # closed in the meantime, by another thread or a callback
            raise Ended(1000, "")
        return gateway
