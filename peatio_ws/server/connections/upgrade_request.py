"""What the request for a WebSocket says: where it comes from, and which protocol, streams and token it brings.

A WSGI environ in, answers out; nothing is verified here but the origin.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qs

from peatio_ws.close_codes import Close
from peatio_ws.config import allowed_origins
from peatio_ws.config.settings import Settings
from peatio_ws.errors import Refused
from peatio_ws.protocol.encoding import Dialect


class UpgradeRequest(NamedTuple):
    """What a client asks for by its request (contract sections 1 and 2).

    Attributes:
        streams: the names in the query.
        token: what came in `Authorization`, without the scheme; None if nothing did.
        resume: the query's `resume`: a cursor, or `1`; None without one (contract section 5).
        notices: whether the query asks for an operator's notices.
    """

    dialect: Dialect
    streams: tuple[str, ...]
    token: str | None
    resume: str | None = None
    notices: bool = False


def parse_upgrade_request(environ: dict[str, Any]) -> UpgradeRequest:
    """Protocol, streams and token of a request. Its path is the client's: what a gateway is mounted at (`SCRIPT_NAME`)
    counts, too.

    Raises:
        Refused: 401 where the path asks for a token and there is none; 400 for a query that is none.
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
    names = [name.strip() for value in query.get("stream", ()) for name in value.split(",")]
    streams = tuple(dict.fromkeys(name for name in names if name))
    notices = query.get("notices", [""])[0] in ("1", "true")
    return UpgradeRequest(Dialect.RANGER, streams, token, query.get("resume", [None])[0], notices)


def token_of(environ: dict[str, Any]) -> str | None:
    """The token of the `Authorization` header; a password for a proxy in front (RFC 7617) is none."""
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = authorization.strip().partition(" ")
    if not scheme or scheme.lower() == "basic":
        return None
    return token.strip() if scheme.lower() == "bearer" else authorization


def unauthorized(text: str) -> Refused:
    """The answer to a token that is missing or no good (RFC 6750 section 3)."""
    return Refused("401 Unauthorized", text, (("WWW-Authenticate", "Bearer"),), Close.POLICY)


def check_origin(environ: dict[str, Any], settings: Settings, by_cookie: bool = False) -> None:
    """Check that a browser's page may connect: the gateway's own host, and `API_CORS_ORIGINS` (contract section 7).

    Args:
        by_cookie: whether a cookie may say who it is. Browsers send it wherever the page is from, so with `*` any page
            could speak for whoever looks at it: there it stands for the host itself.

    Raises:
        Refused: with 403, if it may not.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return  # no browser
    own = environ.get("HTTP_HOST", "")
    if not allowed_origins.is_allowed(origin, own, settings.cors_origins, any_counts=not by_cookie):
        raise Refused("403 Forbidden", "This origin is not among API_CORS_ORIGINS.")
