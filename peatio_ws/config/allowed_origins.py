"""Checks the `Origin` of a request against the entries of `API_CORS_ORIGINS`.

Does not know the WSGI environ or the settings.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

ANY: Final = "*"

_MASK: Final = "*."
_PORTS: Final = {"http": "80", "https": "443"}
_NAMES: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?|\[[0-9a-f:.]{2,45}\]").fullmatch
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,31}").fullmatch
_MOST_OF_A_HOST: Final = 253  # RFC 1035 section 2.3.4


class _Origin(NamedTuple):
    """An origin, or an entry. The scheme is empty if an entry contains only a host."""

    scheme: str
    host: str
    port: str


def is_allowed(origin: str, own_host: str, allowed: Sequence[str], any_counts: bool = True) -> bool:
    """Return whether a page of this origin may connect.

    Args:
        origin: the header, as received.
        own_host: the request's `Host`, which is always allowed.
        allowed: entries of `API_CORS_ORIGINS`: `*`, or a host with or without scheme and port. The first label may be
            `*`. A path is ignored. As in Rango, an entry `http://…` also allows `https://…` of the same host.
        any_counts: whether `*` means any origin; otherwise it means only the request's own host.
    """
    if any_counts and ANY in allowed:
        return True
    lowered = origin.strip().lower()
    if lowered and any(lowered == entry.lower().rstrip("/") for entry in allowed if entry != ANY):
        return True
    page = _parse_origin(lowered)
    if page is None or not page.scheme:
        return False
    own = _parse_origin(own_host.lower())
    entries = [
        entry for entry in (*_parse_origins(tuple(allowed)), own if ANY not in own_host else None) if entry is not None
    ]
    return any(_matches(page, entry) for entry in entries)


def fault_of(entry: str) -> str | None:
    """Return what is wrong with an entry of `API_CORS_ORIGINS`; None if nothing is."""
    if entry == ANY:
        return None
    place = _parse_origin(entry.lower())
    if ANY not in entry:
        valid = place is not None and _NAMES(place.host)
        return None if valid else "which is not an origin or a host: https://www.example.com"
    if place is not None and place.host.startswith(_MASK) and _NAMES(place.host[len(_MASK) :]):
        return None
    return "but * must be the whole entry or the first label of a host: https://*.example.com"


def shown(origin: str) -> str:
    """Return an origin for the log: only scheme, host and port, because other text of a client may be a token."""
    place = _parse_origin(origin.strip().lower())
    if origin.strip() == "null":
        return "null"
    if place is None or not place.scheme or not _NAMES(place.host) or len(place.host) > _MOST_OF_A_HOST:
        return "not an origin"
    port = f":{place.port}" if place.port != _PORTS.get(place.scheme, "") else ""
    return f"{place.scheme}://{place.host}{port}"


@functools.lru_cache(maxsize=8)
def _parse_origins(allowed: tuple[str, ...]) -> tuple[_Origin | None, ...]:
    return tuple(_parse_origin(entry.lower()) for entry in allowed if entry != ANY)


def _parse_origin(text: str) -> _Origin | None:
    """Return the parts of an origin or entry, in lower case; None if it has no host."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme, parts.netloc
    if port is not None:
        host = host.rpartition(":")[0]
    if not host or "@" in host or (scheme and not _SCHEME(scheme)):
        return None
    return _Origin(scheme, host.removesuffix(":"), str(port) if port is not None else _PORTS.get(scheme, ""))


def _matches(page: _Origin, entry: _Origin) -> bool:
    """Return whether a page's origin matches an entry."""
    if entry.scheme not in ("", page.scheme) and (entry.scheme, page.scheme) != ("http", "https"):
        return False
    usual = _PORTS.get(entry.scheme, "")
    port = entry.port if entry.port and entry.port != usual else _PORTS.get(page.scheme, "")
    if entry.host.startswith(_MASK):
        same_host = page.host.endswith(entry.host[1:]) and _NAMES(page.host) is not None
    else:
        same_host = page.host == entry.host
    return same_host and page.port == port
