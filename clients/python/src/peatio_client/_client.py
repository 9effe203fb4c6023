"""The base of both clients: settings, callbacks, and the course that they follow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Self, overload

from peatio_client._course import Course, State
from peatio_client._wire import Route
from peatio_client.books import Book
from peatio_client.channels import ClassicOrder, ClassicTrade, Order, Trade
from peatio_client.events import CALLBACKS, Body, Disconnected, Event, Stream, StreamName

log = logging.getLogger("peatio_client")

NAMES: Final = ("order", "trade", "balances", "deposit_address", *CALLBACKS)


class Client:
    """Settings and callbacks.

    Attributes:
        silence: seconds without a sign of life after which a connection is dead.
    """

    def __init__(
        self, url: str, token: object, streams: Sequence[StreamName], cursor: str | None, silence: float
    ) -> None:
        self.silence = silence
        self._course = Course(Route(url, streams, token is not None), token is not None, cursor)
        self._callbacks: dict[str, list[Callable[[Any], object]]] = {}

    @property
    def cursor(self) -> str | None:
        """The cursor of the last processed event; pass it to a later process to resume there."""
        return self._course.cursor

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self._course.state

    @overload
    def on(self, name: Stream[Body], callback: Callable[[Event[Body]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["order"], callback: Callable[[Event[Order | ClassicOrder]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["trade"], callback: Callable[[Event[Trade | ClassicTrade]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["gap"], callback: Callable[[str | None], object]) -> Self: ...
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
    def on(self, name: StreamName, callback: Callable[[Any], object]) -> Self:
        """Register a callback.

        Args:
            name: `order`, `trade`, `balances` and `deposit_address` for the member's own events; a stream
                (`btcusd.trades`, or a `Stream` of `peatio_client.channels`) for its events; `event` for every event;
                `gap` if events may be missing, with the cursor at which the client continues; `book` if a maintained
                book changed, `stale` if one is no longer correct; `notice` for messages of operators, requested from
                the next connection on; `connected` once authenticated and subscribed, with the streams; `disconnected`
                with the reason and the pause; `error` with an error text of the gateway.

        Raises:
            ValueError: there is no such name.
        """
        text = str(name)
        if isinstance(name, Stream):
            if text in CALLBACKS:
                raise ValueError(f"{text!r}: this stream has the name of another callback; use 'event'")
        elif text not in NAMES and "." not in text:
            raise ValueError(f"unknown name {text!r}: neither a stream, which has a dot, nor one of {', '.join(NAMES)}")
        self._callbacks.setdefault(text, []).append(callback)
        self._course.notices |= text == "notice"
        return self

    def _called(self, name: str, what: object) -> list[Callable[[Any], object]]:
        """Return the callbacks for a name."""
        callbacks = self._callbacks.get(name, [])
        if not callbacks and name in ("gap", "error"):
            log.warning("%s without a callback: %s", name, what)
        return callbacks
