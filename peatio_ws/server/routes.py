"""Handlers of a gateway: functions for the WebSockets of a path, and for events of Peatio's connections.

The register only. Does not know how a handler is called (`handler_connection.py`, `event_session.py`).
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from peatio_ws.auth.identity import Identity
from peatio_ws.errors import Refused
from peatio_ws.protocol.session import BUILT_IN

SocketHandler = Callable[..., object]
"""Called with a `HandlerConnection`, and the parameters of its path by name. The return value is ignored."""
EventHandler = Callable[[Any, dict[str, Any]], object]
"""Called with an `EventSession` and a message. The return value is ignored."""
Identify = Callable[[dict[str, Any]], Identity | str | None]
"""Called with the WSGI environ of a request; returns its member, as a uid or an identity, or None."""
F = TypeVar("F", bound=Callable[..., object])


class Route(NamedTuple):
    """A registered path, its handler, and the function that identifies clients without a token.

    Attributes:
        subprotocols: those that the handler speaks (RFC 6455 section 1.9).
    """

    path: str
    handler: SocketHandler
    identify: Identify | None = None
    subprotocols: tuple[str, ...] = ()


class Handlers:
    """The handlers of one gateway.

    Args:
        peatio_paths: the only paths of Peatio's protocols; None for all that have no handler.

    Attributes:
        events: by the name in a message's `event`.
    """

    def __init__(self, peatio_paths: Iterable[str] | None = None) -> None:
        self._routes: dict[str, Route] = {}
        self._patterns: list[_Pattern] = []
        self._peatio_paths = None if peatio_paths is None else frozenset(map(_key, peatio_paths))
        self.events: dict[str, EventHandler] = {}

    def add_path(self, path: str, handler: F, identify: Identify | None = None, subprotocols: Iterable[str] = ()) -> F:
        """See `Gateway.websocket`. Raise ValueError for a path that is invalid or taken, and for wrong subprotocols."""
        key, route = _key(path), Route(path, handler, identify, _checked(subprotocols))
        if "<" not in path and ">" not in path:
            if key in self._routes:
                raise ValueError(f"{path!r} has a handler already: {_name(self._routes[key].handler)}")
            self._routes[key] = route
            return handler
        pattern = _Pattern.parse(key, route)
        taken = next((other for other in self._patterns if other.shape == pattern.shape), None)
        if taken is not None:
            raise ValueError(f"{path!r} has a handler already: {_name(taken.route.handler)}, as {taken.route.path!r}")
        self._patterns.append(pattern)
        self._patterns.sort(key=lambda one: [segment is None for segment in one.shape])
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
        """Return the route of a request, below any prefix of the application (PEP 3333: SCRIPT_NAME).

        A route with parameters has a handler that is called with their values, too. None for a path of Peatio's.

        Raises:
            Refused: with 404 for a path that is neither.
        """
        path = _plain(environ.get("PATH_INFO", ""))
        route = self._routes.get(path) or next(filter(None, (one.match(path) for one in self._patterns)), None)
        if route is None and self._peatio_paths is not None and path not in self._peatio_paths:
            raise Refused("404 Not Found", "No WebSocket is served at this path.")
        return route


class _Pattern(NamedTuple):
    """A path with parameters.

    Attributes:
        shape: its segments as in a WSGI environ; None for a parameter.
        names: of the parameters.
    """

    shape: tuple[str | None, ...]
    names: tuple[str, ...]
    route: Route

    @classmethod
    def parse(cls, path: str, route: Route) -> _Pattern:
        """Raises ValueError for a malformed parameter, or one that the handler does not take."""
        shape, names = list[str | None](), list[str]()
        for segment in path.split("/"):
            found = _PARAMETER(segment)
            if found is None and ("<" in segment or ">" in segment):
                raise ValueError(f"{route.path!r}: a parameter is a whole segment with a Python name: /room/<name>")
            shape.append(None if found else segment)
            names += [found[1]] if found else []
        if len(set(names)) < len(names):
            raise ValueError(f"{route.path!r} has two parameters of the same name")
        try:
            inspect.signature(route.handler).bind(object(), **dict.fromkeys(names, ""))
        except TypeError:
            text = f"def {getattr(route.handler, '__name__', 'handler')}(ws, {', '.join(names)})"
            raise ValueError(f"{route.path!r}: the handler has to take its parameters: {text}") from None
        return cls(tuple(shape), tuple(names), route)

    def match(self, path: str) -> Route | None:
        """Return the route with the values of the parameters, if the path matches and they are UTF-8."""
        segments = path.split("/", len(self.shape))
        if len(segments) != len(self.shape):
            return None
        values = []
        for segment, wanted in zip(segments, self.shape, strict=True):
            if wanted is None:
                values.append(segment)
            elif segment != wanted:
                return None
        try:
            decoded = [value.encode("latin-1").decode() for value in values]
        except UnicodeError:
            return None
        if not all(decoded):
            return None
        given = dict(zip(self.names, decoded, strict=True))
        return self.route._replace(handler=functools.partial(self.route.handler, **given))


_PARAMETER: Final = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>").fullmatch
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 section 5.6.2


def _checked(subprotocols: Iterable[str]) -> tuple[str, ...]:
    """Return the subprotocols. Raises ValueError if one cannot be sent, TypeError for a single text."""
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols is a list: [{subprotocols!r}]")
    names = tuple(subprotocols)
    for name in names:
        if not _TOKEN(name):
            raise ValueError(f"{name!r} is not a subprotocol: it must be a token of RFC 9110, without blanks")
    return names


def _key(path: str) -> str:
    """Return a path as it is compared. Raises ValueError if it is not one."""
    if not path.startswith("/") or "?" in path or "#" in path:
        raise ValueError(f"{path!r} is not a path: it must begin with / and have neither query nor fragment")
    return _plain(_as_in_environ(path))


def _plain(path: str) -> str:
    """Return a path without its last slash."""
    return path.removesuffix("/")


def _as_in_environ(path: str) -> str:
    """Return a path as in a WSGI environ: each byte of its UTF-8 as a character (PEP 3333, "Unicode Issues")."""
    return path.encode().decode("latin-1")


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
