"""Handlers of a gateway: functions for the WebSockets of a path, and for events of Peatio's connections.

The register only. Does not know how a handler is called (`handler_connection.py`, `event_session.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from peatio_ws.protocol.session import BUILT_IN

SocketHandler = Callable[[Any], object]
"""Called with a `HandlerConnection`. The return value is ignored."""
EventHandler = Callable[[Any, dict[str, Any]], object]
"""Called with an `EventSession` and a message. The return value is ignored."""
Identify = Callable[[dict[str, Any]], str | None]
"""Called with the WSGI environ of a request; returns the uid of its member, or None."""
F = TypeVar("F", bound=Callable[..., object])


class Route(NamedTuple):
    """A registered path, its handler, and the function that identifies clients without a token."""

    path: str
    handler: SocketHandler
    identify: Identify | None = None


class Handlers:
    """The handlers of one gateway.

    Attributes:
        events: by the name in a message's `event`.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self.events: dict[str, EventHandler] = {}

    def add_path(self, path: str, handler: F, identify: Identify | None = None) -> F:
        """See `Gateway.websocket`. Raise ValueError for a path that is invalid or taken."""
        if not path.startswith("/") or "?" in path or "#" in path:
            raise ValueError(f"{path!r} is not a path: it must begin with / and have neither query nor fragment")
        key = _plain(_as_in_environ(path))
        if key in self._routes:
            raise ValueError(f"{path!r} has a handler already: {_name(self._routes[key].handler)}")
        self._routes[key] = Route(path, handler, identify)
        return handler

    def add_event(self, name: str, handler: F) -> F:
        """See `Gateway.on`. Raise ValueError for a name that is built in or taken."""
        if not name:
            raise ValueError('an event needs a name, as in the message {"event":"name"}')
        if name in BUILT_IN:
            raise ValueError(f"{name!r} is answered by the gateway itself; choose another name")
        if name in self.events:
            raise ValueError(f"{name!r} has a handler already: {_name(self.events[name])}")
        self.events[name] = handler
        return handler

    def of(self, environ: Mapping[str, Any]) -> Route | None:
        """Return the route of a request, below any prefix of the application (PEP 3333: SCRIPT_NAME)."""
        return self._routes.get(_plain(environ.get("PATH_INFO", "")))


def _plain(path: str) -> str:
    """Return a path without its last slash."""
    return path.removesuffix("/")


def _as_in_environ(path: str) -> str:
    """Return a path as in a WSGI environ: each byte of its UTF-8 as a character (PEP 3333, "Unicode Issues")."""
    return path.encode().decode("latin-1")


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
