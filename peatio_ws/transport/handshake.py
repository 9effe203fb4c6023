"""The opening handshake as WSGI sees it: what asks for a WebSocket, what may have one, and the answers to the others.

An environ in, a refusal or an answer out; knows neither sockets nor Peatio.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, NamedTuple

from peatio_ws.errors import Refused
from peatio_ws.transport.compression import Compression

VERSION: Final = "13"


class RawSocket(NamedTuple):
    """A socket after the handshake, as the HTTP side passes it to a `WebSocket`.

    Attributes:
        early: bytes the client sent along with the request.
        answer: bytes to send before the first frame.
        may_move: whether the socket outlives the request.
        compression: what was negotiated, if anything.
    """

    sock: Any
    early: bytes
    answer: bytes
    may_move: bool
    compression: Compression | None = None


def wants_upgrade(environ: dict[str, Any]) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.1: `Upgrade: websocket`)."""
    return "websocket" in [token.strip().lower() for token in environ.get("HTTP_UPGRADE", "").split(",")]


def check_handshake(environ: dict[str, Any]) -> None:
    """The server's side of the opening handshake (RFC 6455 section 4.2.1).

    Raises:
        Refused: with 400, 405 or 426.
    """
    if environ["REQUEST_METHOD"] != "GET":
        raise Refused("405 Method Not Allowed", "A WebSocket is opened with GET.", (("Allow", "GET"),))
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
            f"Sec-WebSocket-Version has to be {VERSION}.",
            (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)),
        )
    try:
        key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused("400 Bad Request", "Sec-WebSocket-Key has to be 16 bytes in base64.")


def respond(refused: Refused, start_response: Any, ends: bool = True) -> list[bytes]:
    """Answer a handshake with plain HTTP.

    Args:
        ends: whether the connection ends with that. To say so is the server's, and some mind (PEP 3333); this package's
            takes it from here.
    """
    body = refused.text.encode() + b"\n"
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if ends:
        headers.append(("Connection", "close"))
    start_response(refused.status, [*headers, *refused.headers])
    return [body]


def switch_protocols(start_response: Any) -> None:
    """Tell middleware and frameworks around an upgraded connection what became of the request, in headers that satisfy
    those who check them (`wsgiref.validate`). Nothing of it is sent: the 101 is the handler's."""
    start_response("101 Switching Protocols", [("Content-Type", "text/plain"), ("Content-Length", "0")])
