"""Where a request comes from: a browser's origin, and the address behind the operator's own proxies."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from peatio_ws.errors import Refused
from peatio_ws.settings import Settings


def check_origin(environ: dict[str, Any], settings: Settings) -> None:
    """Whether a browser may come from there (contract section 7, `API_CORS_ORIGINS`); Refused with 403 if not."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return  # no browser
    allowed = settings.cors_origins or (environ.get("HTTP_HOST", ""),)
    host = urlsplit(origin).netloc.lower()
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


def _is_trusted(address: str, settings: Settings) -> bool:
    if not address:
        return True  # a Unix socket: whoever may open the file
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in settings.trusted_proxies)
