"""The base of both clients: settings, callbacks, the log, and the course that they follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self, TypeVar, overload
from urllib.parse import urlsplit

from peatio_client._callbacks import Callback, Callbacks
from peatio_client._commands import Command, Emit, Open, Send, Tell
from peatio_client._course import Course, State
from peatio_client._credentials import checked
from peatio_client._lines import Options
from peatio_client._reasons import place
from peatio_client._requests import NOT_CONNECTED
from peatio_client._wire import Route
from peatio_client.books import Book, View
from peatio_client.channels import Order, Trade
from peatio_client.events import Body, Disconnected, Event, Resumed, Stream, StreamName

log = logging.getLogger("peatio_client")

Function = TypeVar("Function", bound=Callable[..., object])


class Client:
    """Settings and callbacks. The arguments are those of `PeatioClient`."""

    def __init__(
        self,
        url: str,
        token: object,
        streams: Sequence[StreamName],
        cursor: str | None,
        authenticated: Literal["by the proxy"] | None,
        options: Options,
        books: Sequence[str],
        view: View,
    ) -> None:
        view.check()
        if authenticated not in (None, "by the proxy"):
            raise ValueError(f"authenticated={authenticated!r}: the only value is 'by the proxy'")
        if authenticated and token is not None:
            raise ValueError("a connection is authenticated by a token or by the proxy, not by both")
        if isinstance(token, str):
            try:
                checked(token, "the token is")
            except TypeError as error:
                raise ValueError(str(error)) from None
        elif token is not None and not callable(token):
            raise TypeError(f"the token has to be a string or a function, not {type(token).__name__}")
        route = Route(url, streams, token is not None or authenticated is not None, books)
        if options.ssl is not None and urlsplit(url).scheme != "wss":
            raise ValueError("the option ssl requires an address with wss://")
        fresh_headers, fixed_token = callable(options.headers), isinstance(token, str)
        self._course = Course(route, token is not None, cursor, view, fresh_headers, fixed_token, options.longest_pause)
        self._callbacks = Callbacks()

    @property
    def cursor(self) -> str | None:
        """The cursor of the last processed event; pass it to a later process to resume there."""
        return self._course.cursor

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self._course.state

    @overload
    def on(self, name: StreamName) -> Callable[[Function], Function]: ...
    @overload
    def on(self, name: Stream[Body], callback: Callable[[Event[Body]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["order"], callback: Callable[[Event[Order]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["trade"], callback: Callable[[Event[Trade]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["gap"], callback: Callable[[str | None], object]) -> Self: ...
    @overload
    def on(self, name: Literal["missed"], callback: Callable[[str], object]) -> Self: ...
    @overload
    def on(self, name: Literal["resumed"], callback: Callable[[Resumed], object]) -> Self: ...
    @overload
    def on(self, name: Literal["book", "stale"], callback: Callable[[Book], object]) -> Self: ...
    @overload
    def on(self, name: Literal["connected"], callback: Callable[[list[str]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["disconnected"], callback: Callable[[Disconnected], object]) -> Self: ...
    @overload
    def on(self, name: Literal["error"], callback: Callable[[str], object]) -> Self: ...
    @overload
    def on(self, name: Literal["notice"], callback: Callable[[Any], object]) -> Self: ...
    @overload
    def on(self, name: str, callback: Callable[[Event[Any]], object]) -> Self: ...
    def on(self, name: StreamName, callback: Callback | None = None) -> Any:
        """Register a callback. Without one, return a decorator: `@client.on("order")`.

        Args:
            name: `order`, `trade`, `balances` and `deposit_address` for the member's own events; a stream
                (`btcusd.trades`, or a `Stream` of `peatio_client.channels`) for its events; `event` for every event;
                `gap` if private events may be missing, with the cursor at which the client continues; `missed` if
                public trades may be missing, with their stream; `resumed` once the missed events were received after a
                reconnection, with `complete`; `book` if a maintained book changed, `stale` if one
                is no longer correct; `notice` for messages of operators, requested from
                the next connection on; `connected` once authenticated and subscribed, with the streams; `disconnected`
                with the reason and the pause; `error` with an error text of the gateway.

        Raises:
            ValueError: there is no such name.
        """
        return self._register(name, callback, once=False)

    @overload
    def once(self, name: StreamName) -> Callable[[Function], Function]: ...
    @overload
    def once(self, name: StreamName, callback: Callable[[Any], object]) -> Self: ...
    def once(self, name: StreamName, callback: Callback | None = None) -> Any:
        """Register a callback for one call, as `on` does. It is removed when it has returned."""
        return self._register(name, callback, once=True)

    def off(self, name: StreamName, callback: Callback | None = None) -> Self:
        """Remove a callback; without one, all callbacks of this name. Idempotent."""
        self._callbacks.remove(name, callback)
        return self

    def _register(self, name: StreamName, callback: Callback | None, once: bool) -> Any:
        def add(function: Callback) -> Callback:
            self._callbacks.add(name, function, once)
            self._course.notices |= str(name) == "notice"
            return function

        if callback is None:
            return add
        add(callback)
        return self

    def _turn(self) -> float:
        """Return the seconds until a request may be sent. With 0, it counts as sent.

        Raises:
            ConnectionError: there is no connection.
        """
        if self.state != "connected":
            raise ConnectionError(NOT_CONNECTED)
        return self._course.turn()

    def _called(self, name: str, what: object) -> Iterator[Callback]:
        """Yield the callbacks for a name."""
        if name in ("gap", "missed", "resumed", "error", "disconnected", "connected"):
            alone = name not in ("connected", "missed", "resumed") and not self._callbacks.has(name)
            log.log(logging.WARNING if alone else logging.INFO, "%s", _line(name, what))
        return self._callbacks.of(name)

    def _note(self, command: Command) -> None:
        """Log a command, without tokens and payloads."""
        if not log.isEnabledFor(logging.DEBUG):
            return
        match command:
            case Open(address):
                log.debug("connecting to %s", place(address))
            case Send(text):
                log.debug("sending a message of %d characters", len(text))
            case Emit(event):
                log.debug("event of %s, %d characters", event.stream, len(event.text))
            case Tell(name):
                log.debug("callbacks of %s", name)


def unanswered(event: str, timeout: float, error: TimeoutError) -> TimeoutError:
    """Return the error for a request without an answer, with its reason if `error` has one."""
    why = f": {error}" if str(error) else f" was not answered within {timeout:g} s"
    return TimeoutError(f"{event!r}{why}")


def _line(name: str, what: object) -> str:
    """Return a line of the log."""
    match what:
        case Disconnected(code, reason, pause):
            then = "no further attempt" if pause is None else f"next attempt in {pause:.1f} s"
            return f"disconnected: {code} {reason}; {then}"
        case Resumed(complete):
            return f"resumed, {'complete' if complete else 'but events may be missing'}"
        case list():
            return f"connected, {len(what)} streams"
    if name == "missed":
        return f"missed: events of {what} may be missing"
    return "gap: events may be missing" if name == "gap" else f"{name}: {what}"
