"""What people hang onto a gateway: functions for WebSockets of a path, and for events of Peatio's connections.

The register only. Does not know how such a function is run (`handler_connection.py`, `event_session.py`) nor what it is
given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from peatio_ws.protocol.session import BUILT_IN

SocketHandler = Callable[[Any], object]
"""Called with a `HandlerConnection`; what it returns is not looked at."""
EventHandler = Callable[[Any, dict[str, Any]], object]
"""Called with an `EventSession` and a message; what it returns is not looked at."""
Identify = Callable[[dict[str, Any]], str | None]
"""Called with a request's WSGI environ; the uid of whose it is, or None."""
F = TypeVar("F", bound=Callable[..., object])


class Route(NamedTuple):
    """A path, as it was registered, whose it is, and who says who comes without a token."""

    path: str
    handler: SocketHandler
    identify: Identify | None = None


class Handlers:
    """The handlers of one gateway.

    Attributes:
        events: by the name that stands in a message's `event`.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self.events: dict[str, EventHandler] = {}

    def add_path(self, path: str, handler: F, identify: Identify | None = None) -> F:
        """See `Gateway.websocket`. ValueError for a path that is none, or taken."""
        if not path.startswith("/") or "?" in path or "#" in path:
            raise ValueError(f"{path!r} is no path of a WebSocket: it begins with / and has neither query nor fragment")
        key = _plain(_as_in_environ(path))
        if key in self._routes:
            raise ValueError(f"{path!r} has a handler already: {_name(self._routes[key].handler)}")
        self._routes[key] = Route(path, handler, identify)
        return handler

    def add_event(self, name: str, handler: F) -> F:
        """See `Gateway.on`. ValueError for a name that is built in, or taken."""
        if not name:
            raise ValueError('an event needs a name, as it stands in the message: {"event":"name"}')
        if name in BUILT_IN:
            raise ValueError(f"{name!r} is answered by the gateway itself, and no name for a handler; take another one")
        if name in self.events:
            raise ValueError(f"{name!r} has a handler already: {_name(self.events[name])}")
        self.events[name] = handler
        return handler

    def of(self, environ: Mapping[str, Any]) -> Route | None:
        """Whose a request's path is, under whatever prefix the application is mounted (PEP 3333: SCRIPT_NAME)."""
        return self._routes.get(_plain(environ.get("PATH_INFO", "")))


def _plain(path: str) -> str:
    """A path without its last slash."""
    return path.removesuffix("/")


def _as_in_environ(path: str) -> str:
    """A path as WSGI shows it: each byte of its UTF-8 a character (PEP 3333, "Unicode Issues")."""
    return path.encode().decode("latin-1")


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
