"""What the request for a WebSocket says: where it comes from, and which protocol, streams and token it brings.

A WSGI environ in, answers out; nothing is verified here but the origin.
"""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from peatio_ws.dialects import Dialect
from peatio_ws.errors import Close, Refused
from peatio_ws.settings import Settings


class Asked(NamedTuple):
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


def asked(environ: dict[str, Any]) -> Asked:
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
        return Asked(Dialect.CLASSIC, (), None)
    names = [name.strip() for value in query.get("stream", ()) for name in value.split(",")]
    streams = tuple(dict.fromkeys(name for name in names if name))
    notices = query.get("notices", [""])[0] in ("1", "true")
    return Asked(Dialect.RANGER, streams, token, query.get("resume", [None])[0], notices)


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
    """Whether a browser may come from there (contract section 7, `API_CORS_ORIGINS`); Refused with 403 if not.

    Args:
        by_cookie: whether a cookie may say who it is. Browsers send it wherever the page is from, so with `*` any page
            could speak for whoever looks at it: there it stands for the host itself.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return  # no browser
    own = environ.get("HTTP_HOST", "")
    allowed = [own if one == "*" and by_cookie else one for one in settings.cors_origins or (own,)]
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:  # no URL at all
        host = ""
    for one in allowed:
        if one == "*" or one.lower().rstrip("/") == origin.lower() or (host and _without_port(one, origin) == host):
            return
    raise Refused("403 Forbidden", "This origin is not among API_CORS_ORIGINS.")


def _without_port(host: str, origin: str) -> str:
    """A host without the port that its scheme implies, as an Origin is written (RFC 6454 section 6.1)."""
    return host.lower().removesuffix(":443" if origin.lower().startswith("https:") else ":80")


def client_address(environ: dict[str, Any], settings: Settings) -> str:
    """Where a request comes from: the last address of `X-Forwarded-For` that is no trusted proxy's own."""
    address = str(environ.get("REMOTE_ADDR") or "")
    if not settings.trusted_proxies:
        return address
    hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if hop.strip()]
    while hops and _is_trusted(address, settings):
        address = hops.pop()
    return address


def answerable(address: str, settings: Settings) -> str | None:
    """As whom connections and failed tokens from an address are counted; None where it says nothing of whose they are:
    a Unix socket's and a trusted proxy's own stand for everybody behind them.

    An IPv6 address counts as its /64, of which who has one address has all (RFC 6177); an IPv4 address written as IPv6
    counts as itself.
    """
    if _is_trusted(address, settings):
        return None
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return answerable(str(parsed.ipv4_mapped), settings)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


def _is_trusted(address: str, settings: Settings) -> bool:
    if not address:
        return True  # a Unix socket: whoever may open the file
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in settings.trusted_proxies)
