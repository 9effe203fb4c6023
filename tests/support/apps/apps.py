"""Small WSGI applications on the transport, one for each way in which handlers behave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from geventwebsocket.exceptions import WebSocketError

from peatio_ws.errors import Disconnect

Start = Callable[..., Any]
_seen: list[str] = []


def raises(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Fail after the first message."""
    environ["wsgi.websocket"].receive()
    raise RuntimeError("something that only the log should know")


def returns(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Send one message and return.

    Like a framework it returns an HTTP response even then, and reads the request late.
    """
    environ["wsgi.websocket"].send("hello")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [b"this is no frame"]


def answers_500(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Fail; the framework catches and logs the error."""
    environ["wsgi.websocket"].send("hello")
    start_response("500 Internal Server Error", [("Content-Type", "text/html")])
    return [b"<h1>Internal Server Error</h1>"]


def disconnects(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """End the connection with an exception."""
    raise Disconnect(4000, "go away")


def refuses(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Answer the handshake with plain HTTP."""
    start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"no\n"]


def legacy(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Written for gevent-websocket. A plain request is answered with what it received."""
    ws = environ.get("wsgi.websocket")
    if ws is None:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(_seen).encode()]
    while not ws.closed:
        message = ws.receive()
        _seen.append(repr(message))
        if message == "close":
            ws.close(4000, b"as you wish")
            ws.close()
            _seen.append(f"closed={ws.closed}")
            try:
                ws.send("too late")
            except WebSocketError as error:
                _seen.append(type(error).__name__)
        elif message is not None:
            ws.send(message, binary=isinstance(message, bytearray | bytes))
    return []
