"""The opening handshake at the level of WSGI: recognizes upgrade requests, checks them, and writes refusals.

Takes an environ, and returns or raises an answer. Knows neither sockets nor Peatio.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from peatio_ws.errors import Refused
from peatio_ws.transport.compression import Compression

VERSION: Final = "13"


class RawSocket(NamedTuple):
    """A socket after the handshake, as the HTTP side passes it to a `WebSocket`.

    Attributes:
        early: bytes that the client sent together with the request.
        answer: bytes to send before the first frame.
        may_move: whether the socket outlives the request.
        compression: the negotiated compression, or None.
    """

    sock: Any
    early: bytes
    answer: bytes
    may_move: bool
    compression: Compression | None = None


Upgrade = Callable[[str | None], RawSocket]
"""Takes the socket out of a request, whose answer names this subprotocol."""


def wants_upgrade(environ: dict[str, Any]) -> bool:
    """Return whether a request asks for a WebSocket (RFC 6455 section 4.1: `Upgrade: websocket`)."""
    return "websocket" in [token.strip().lower() for token in environ.get("HTTP_UPGRADE", "").split(",")]


def check_handshake(environ: dict[str, Any]) -> None:
    """Check a request as the server in the opening handshake (RFC 6455 section 4.2.1).

    Raises:
        Refused: with 400, 405 or 426.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise Refused("405 Method Not Allowed", "Open a WebSocket with GET.", (("Allow", "GET"),))
    if environ.get("SERVER_PROTOCOL") != "HTTP/1.1":
        raise Refused("426 Upgrade Required", "A WebSocket needs HTTP/1.1.", (("Upgrade", "websocket"),))
    connection = [token.strip().lower() for token in environ.get("HTTP_CONNECTION", "").split(",")]
    if "upgrade" not in connection:
        raise Refused("400 Bad Request", "Connection: Upgrade is missing; does a proxy in front drop it?")
    if not environ.get("HTTP_HOST"):
        raise Refused("400 Bad Request", "Host is missing.")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != VERSION:
        raise Refused(
            "426 Upgrade Required",
            f"Sec-WebSocket-Version must be {VERSION}.",
            (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)),
        )
    try:
        key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused("400 Bad Request", "Sec-WebSocket-Key must be 16 bytes in base64.")


def respond(refused: Refused, start_response: Any, ends: bool = True) -> list[bytes]:
    """Answer a handshake with plain HTTP.

    Args:
        ends: whether the connection ends after the answer. In WSGI only the server may send `Connection`, and some
            servers check that (PEP 3333); the server of this package accepts it from here.
    """
    body = refused.text.encode() + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if ends:
        headers.append(("Connection", "close"))
    start_response(refused.status, [*headers, *refused.headers])
    return [body]


def switch_protocols(start_response: Any) -> None:
    """Report the upgrade to middleware and frameworks around the application, with headers that satisfy validators
    (`wsgiref.validate`). They are not sent: the handler sends the 101."""
    start_response("101 Switching Protocols", [("Content-Type", "text/plain"), ("Content-Length", "0")])


def upgrade_required(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer plain HTTP without an application: `/healthcheck` for load balancers, as Ranger does, else 426."""
    if environ.get("PATH_INFO") == "/healthcheck" and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return respond(Refused("200 OK", "OK"), start_response)
    text = "This is a WebSocket service: connect with a WebSocket client (ws:// or wss://)."
    return respond(Refused("426 Upgrade Required", text, (("Upgrade", "websocket"),)), start_response)
