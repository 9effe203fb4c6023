"""Requests to handlers of the gateway, and their answers, which carry the same `echo`. Knows no socket."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from peatio_client import _json
from peatio_client.events import RequestFailed

MOST_GIVEN_UP: Final = 100
"""Limit of abandoned requests that are remembered, so that their late answers are dropped."""

Settle: TypeAlias = Callable[[dict[str, Any] | None], object]
"""Receives the answer; None if the connection ended before it."""

RESERVED: Final = frozenset(("subscribe", "unsubscribe"))
LOST: Final = "the connection ended before the answer; the handler may have run"
NOT_CONNECTED: Final = "not connected; wait for the callback `connected`, or try again"


class Requests:
    """The requests of a client that wait for an answer."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Settle] = {}
        self._given_up = deque[int](maxlen=MOST_GIVEN_UP)

    def ask(self, event: str, fields: Mapping[str, Any], settle: Settle) -> tuple[int, str]:
        """Return the number of a new request, and its message.

        Raises:
            ValueError: the gateway itself handles this event.
            TypeError: the fields cannot be written as JSON.
        """
        if event in RESERVED:
            raise ValueError(f"{event!r} is not a handler; use the method {event}()")
        number = next(self._numbers)
        text = json.dumps({**fields, "event": event, "echo": number})
        self._waiting[number] = settle
        return number, text

    def forget(self, number: int) -> None:
        """Stop waiting for an answer; if it comes later, drop it. Idempotent."""
        if self._waiting.pop(number, None) is not None:
            self._given_up.append(number)

    def take(self, text: str) -> bool:
        """Pass a frame to the request that it answers. Return False if it is not an answer."""
        if not (self._waiting or self._given_up) or '"echo"' not in text:
            return False
        try:
            frame = _json.read(text)
            if frame["echo"] in self._given_up:
                return True
            settle = self._waiting.pop(frame["echo"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return False
        del frame["echo"]
        settle(frame)
        return True

    def lose(self) -> None:
        """End all requests: the connection ended."""
        while self._waiting:
            _, settle = self._waiting.popitem()
            settle(None)
        self._given_up.clear()


def answer(frame: dict[str, Any] | None) -> dict[str, Any]:
    """Return the answer to a request.

    Raises:
        ConnectionError: the connection ended before.
        RequestFailed: it is an error.
    """
    if frame is None:
        raise ConnectionError(LOST)
    if "error" in frame:
        error = frame["error"]
        raise RequestFailed(str(error.get("message", error) if isinstance(error, dict) else error))
    return frame
