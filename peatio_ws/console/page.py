"""The console: a page at `/` that shows what the gateway does, and trades in the simulated exchange.

A WSGI application that serves the files in `static/`, in front of or behind another application. Knows nothing of
connections. With a simulated exchange it receives a function that signs a token for its member.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from peatio_ws.console import static_files
from peatio_ws.console.static_files import TYPES

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SESSION: Final = "/console/session"
"""The path at which the page gets its token for the simulated exchange."""

_FOLDER: Final = static_files.SHARED
_is_host = re.compile(r"[A-Za-z0-9.-]{1,255}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{1,45}\](?::[0-9]{1,5})?").fullmatch


def _names() -> Iterator[str]:
    """Yield the files of the page, with those of its client in `src`."""
    for folder in ("", "src/"):
        for path in (_FOLDER / folder).iterdir():
            if path.suffix in TYPES:
                yield f"{folder}{path.name}"


class Page:
    """Serves the console, and passes all other requests to an application.

    Args:
        app: serves the other paths.
        app_first: whether the application is asked first, even for the console's paths. The console then serves them
            only if the application answers 404.
        sign: makes a token for the simulated member; None on a real exchange.
        market: the market shown first.
    """

    def __init__(self, app: WSGIApp, app_first: bool, sign: Callable[[], str] | None, market: str = "") -> None:
        self._app, self._app_first, self._sign = app, app_first, sign
        self._files = {f"/console/{name}": static_files.read(_FOLDER / name) for name in _names()}
        # What the page needs to know before it has a connection.
        page = self._files.pop("/console/index.html")
        about = f'data-simulated="{"no" if sign is None else "yes"}" data-market="{market}"'
        self._files["/"] = page._replace(body=page.body.replace(b"data-simulated", about.encode(), 1))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        if path not in self._files and (path != SESSION or self._sign is None):
            return self._app(environ, start_response)
        if not self._app_first:
            return self._answer(path, environ, start_response)
        asked = _AppResponse(start_response)
        body = self._app(environ, asked.start_response)
        try:
            chunks = iter(body)
            first = next(chunks, b"")  # an application may call start_response as late as here
        except BaseException:
            _close(body)
            raise
        if not asked.has_nothing:
            return _Rest(first, chunks, body)
        _close(body)
        return self._answer(path, environ, start_response)

    def _answer(self, path: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        method, allowed = environ["REQUEST_METHOD"], ("POST",) if path == SESSION else ("GET", "HEAD")
        if method not in allowed:
            text = f"{method} is not allowed for this path.\n".encode()
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Allow", ", ".join(allowed))]
            return _respond(start_response, "405 Method Not Allowed", headers, text)
        if path == SESSION:
            return self._session(environ, start_response)
        file, host = self._files[path], environ.get("HTTP_HOST", "")
        # Not every browser counts a WebSocket of the same host as 'self'.
        sockets = f" ws://{host} wss://{host}" if _is_host(host) else ""
        headers = [("Content-Type", file.kind), static_files.policy(sockets)]
        return _respond(start_response, "200 OK", headers, file.body, method == "HEAD")

    def _session(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Return a token for a page of the same origin. Without a CORS header, no other origin can read the answer; if
        the browser reports that another origin asks (Fetch Metadata, `Sec-Fetch-Site`), no token is made."""
        assert self._sign is not None
        if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") != "same-origin":
            text = b"Only the console's own page gets a token here.\n"
            return _respond(start_response, "403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")], text)
        body = json.dumps({"token": self._sign()}).encode()
        return _respond(start_response, "200 OK", [("Content-Type", "application/json")], body)


class _AppResponse:
    """Passes on the start of an application's response, unless it is a 404."""

    def __init__(self, start_response: Callable[..., Any]) -> None:
        self._start_response = start_response
        self.has_nothing = False

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self.has_nothing = status.startswith("404 ")
        return (lambda _data: None) if self.has_nothing else self._start_response(status, headers, exc_info)


class _Rest:
    """An application's response whose first part has been read. The server closes it, read or not."""

    def __init__(self, first: bytes, chunks: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._chunks, self._body = itertools.chain((first,), chunks), body

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        _close(self._body)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _respond(
    start_response: Callable[..., Any], status: str, headers: list[tuple[str, str]], body: bytes, head: bool = False
) -> list[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body))), *static_files.HEADERS])
    return [] if head else [body]
