"""Reads an upgrade request: its origin, and the protocol, streams and token that it names.

A WSGI environ in, a tuple out. Only the origin is checked here, not the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from peatio_ws.close_codes import Close
from peatio_ws.config import allowed_origins
from peatio_ws.config.settings import Settings
from peatio_ws.errors import Refused
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Marks
from peatio_ws.transport.websocket import WebSocket

SUBPROTOCOL: Final = "peatio_ws.subprotocol"
"""The key of the agreed subprotocol in the environ."""


class UpgradeRequest(NamedTuple):
    """What a client asks for in its request (contract sections 1 and 2).

    Attributes:
        streams: the names in the query.
        token: the value of `Authorization` without the scheme; None without that header.
        resume: the query's `resume`, a cursor or `1`; None without one (contract section 5).
        notices: whether the query asks for operators' notices.
        after: the query's marks, by stream (protocol.md, "Trades across a cut"); None if it does not ask for marks.
    """

    dialect: Dialect
    streams: tuple[str, ...]
    token: str | None
    resume: str | None = None
    notices: bool = False
    after: Marks | None = None


def parse_upgrade_request(environ: dict[str, Any]) -> UpgradeRequest:
    """Return protocol, streams and token of a request. The path is the one that the client sees, with the prefix at
    which the gateway is mounted (`SCRIPT_NAME`).

    Raises:
        Refused: 401 if the path needs a token and the request has none; 400 if the query has too many fields.
    """
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    segments = [segment for segment in path.split("/") if segment]
    token = token_of(environ)
    try:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise Refused("400 Bad Request", "The query has too many fields.") from None
    if token is None and segments[-1:] == ["private"]:
        raise unauthorized("This path needs a token: Authorization: Bearer <token>.")
    if not (
        segments[-1:] in (["public"], ["private"])
        or "ranger" in segments
        or "stream" in query
        or "HTTP_AUTHORIZATION" in environ
    ):
        return UpgradeRequest(Dialect.CLASSIC, (), None)
    streams = tuple(dict.fromkeys(_listed(query, "stream")))
    notices = query.get("notices", [""])[0] in ("1", "true")
    return UpgradeRequest(Dialect.RANGER, streams, token, query.get("resume", [None])[0], notices, _marks(query))


def _listed(query: dict[str, list[str]], name: str) -> list[str]:
    """Return the values of a field that may occur several times, and may contain several values."""
    parts = [part.strip() for value in query.get(name, ()) for part in value.split(",")]
    return [part for part in parts if part]


def _marks(query: dict[str, list[str]]) -> Marks | None:
    """Return the marks of `after=<stream>:<mark>`; None if the query asks for none."""
    after = [part.rpartition(":") for part in _listed(query, "after")]
    if not after and query.get("marks", [""])[0] not in ("1", "true"):
        return None
    return {stream: mark or None for stream, _, mark in after if stream}


def token_of(environ: dict[str, Any]) -> str | None:
    """Return the token of the `Authorization` header. A password for a proxy (RFC 7617) is not a token."""
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = authorization.strip().partition(" ")
    if not scheme or scheme.lower() == "basic":
        return None
    return token.strip() if scheme.lower() == "bearer" else authorization


def agree_on_subprotocol(environ: dict[str, Any], ws: WebSocket, spoken: Sequence[str]) -> str | None:
    """Return the first of the client's subprotocols that the handler speaks, too; None if there is none.

    A client lists them in the order of its preference (RFC 6455 section 4.1). Names are compared with their case. The
    result is also put into the environ. The stock handler has sent its answer already, without a subprotocol.
    """
    offered = (name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(","))
    agreed = None if ws.accepted_elsewhere else next((name for name in offered if name in spoken), None)
    environ[SUBPROTOCOL] = agreed
    return agreed


def unauthorized(text: str) -> Refused:
    """Return the answer to a missing or invalid token (RFC 6750 section 3)."""
    return Refused("401 Unauthorized", text, (("WWW-Authenticate", "Bearer"),), Close.POLICY)


def check_origin(environ: dict[str, Any], settings: Settings, by_cookie: bool = False) -> None:
    """Check that a browser's page may connect: pages of the gateway's own host and of `API_CORS_ORIGINS` (contract
    section 7).

    Args:
        by_cookie: whether a cookie may identify the client. Browsers send cookies with requests of any page, so `*`
            would let any page act for its visitors. Here `*` means the gateway's own host.

    Raises:
        Refused: with 403, if the page may not connect.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return  # not a browser
    own = environ.get("HTTP_HOST", "")
    if not allowed_origins.is_allowed(origin, own, settings.cors_origins, any_counts=not by_cookie):
        raise Refused("403 Forbidden", "This origin is not among API_CORS_ORIGINS.")
