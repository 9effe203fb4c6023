"""The address of the client behind any proxies: takes addresses and headers, returns one address.

`resolve` is the only function that decides it; the log, the limits, `who` and handlers all show its result. Knows no
sockets.

Theory of operation. Each proxy appends its peer's address to a header, so the header is read from the right.
A hop is believed if the one that reported it is trusted; the first hop that is not trusted is the client. Everything
further left is the client's claim. A hop that cannot be read ends the walk: the client is then `unknown via` the proxy
that reported it, and all such clients of that proxy count together towards the limits.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from peatio_ws.config.settings import Settings
from peatio_ws.config.trusted_proxies import Header, Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN: Final = "unknown"
"""The address of a client that the headers do not tell, as RFC 7239 section 6.2 names it."""
MOST_HOPS: Final = 32
"""The limit of trusted hops to follow: clients can send a chain of any length."""
HOP_CHARACTERS: Final = 512
"""The longest hop in characters; a longer one is not read."""

_UNIX: Final = "unix:"
"""nginx's name for a peer on a Unix socket."""

_PORT: Final = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_IPV4: Final = re.compile(rf"([0-9.]+){_PORT}").fullmatch
_BRACKETED: Final = re.compile(rf"\[([^\[\]]+)\]{_PORT}").fullmatch

# RFC 7239 section 4. A value without quotes may also contain an address with its port, although it should not.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = rf'({_TOKEN})=({_TOKEN}|[0-9A-Za-z.:%\[\]_-]+|"(?:[^"\\]|\\.)*")'
_pair: Final = re.compile(rf"[ \t]*{_PAIR}[ \t]*(?:;|$)").match


def resolve(peer: str, environ: Mapping[str, str], trusted: Sequence[Network], header: Header | None = None) -> str:
    """Return the address of the client in its shortest form: IPv4 if it is IPv4-mapped, without port and zone.

    Args:
        peer: the address of the connection; empty for a Unix socket, which only local processes with access can use.
        environ: a WSGI environ, of which `X-Forwarded-For` and `Forwarded` count.
        trusted: networks of the proxies whose headers are believed. With any, a Unix socket's peer is believed, too.
        header: the header that the proxies set; the other one is ignored. None: `X-Forwarded-For` if it is present,
            otherwise `Forwarded`.

    Returns:
        The address; empty for a Unix socket's peer that reports none; `unknown`, or `unknown via` the proxy, if it
        cannot be read.
    """
    at = _read(peer)
    if at is None:
        return UNKNOWN
    hops = _hops(environ, header) if trusted else iter(())
    for _ in range(MOST_HOPS):
        if not _is_trusted(at, trusted):
            break
        hop = next(hops, None)
        if hop is None:
            break
        found = _read(hop) if hop.strip() else None
        if found is None:
            return f"{UNKNOWN} via {at or _UNIX}"
        at = found
    else:
        return f"{UNKNOWN} via {at or _UNIX}"
    return str(at)


def is_trusted_peer(peer: str, trusted: Sequence[Network]) -> bool:
    """Return whether what a peer reports is believed. With any trusted network, a Unix socket's peer is believed."""
    at = _read(peer)
    return bool(trusted) and at is not None and _is_trusted(at, trusted)


def rate_limit_key(address: str, trusted: Sequence[Network]) -> str | None:
    """Return the name under which connections and failed tokens from an address are counted together.

    An IPv6 address counts as its /64, because a client with one address of it has all of them (RFC 6177).

    Args:
        address: as `resolve` returns it.

    Returns:
        The name; None for an address shared by many clients: a Unix socket's, or a trusted proxy's own.
    """
    at = _read(address)
    if at is None:
        return address
    if _is_trusted(at, trusted):
        return None
    if isinstance(at, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(at), 64), strict=False))
    return str(at)


def _read(node: str) -> Address | Literal[""] | None:
    """Return the address in a hop, empty for a Unix socket's peer; None if it cannot be read."""
    text = node.strip()
    if text in ("", _UNIX):
        return ""
    if len(text) > HOP_CHARACTERS:
        return None
    inner = _IPV4(text) or _BRACKETED(text)
    try:
        found = ipaddress.ip_address(inner[1] if inner else text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    return found.ipv4_mapped or ipaddress.IPv6Address(int(found))  # a zone has a meaning on its own host only


def _is_trusted(at: Address | Literal[""], trusted: Sequence[Network]) -> bool:
    return at == "" or any(at.version == one.version and at in one for one in trusted)


def _hops(environ: Mapping[str, str], header: Header | None) -> Iterator[str]:
    """Return the hops of the header that counts, the last one first."""
    forwarded_for = environ.get("HTTP_X_FORWARDED_FOR", "").strip()
    if header == "x-forwarded-for" or (header is None and forwarded_for):
        return _listed(forwarded_for)
    return _elements(environ.get("HTTP_FORWARDED", "").strip())


def _listed(text: str) -> Iterator[str]:
    """Yield the hops of `X-Forwarded-For`. An empty hop counts: a proxy that does not know its peer must not make the
    client's own claim count."""
    for hop in reversed(text.rsplit(",", MOST_HOPS) if text else ()):
        bare = hop.strip()
        yield bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare


def _elements(text: str) -> Iterator[str]:
    """Yield `for` of the elements of `Forwarded` (RFC 7239).

    The elements are found from the right. Read from the left, a client that sends an unclosed quote would absorb what a
    proxy appends into its own text. The shortest rest that is an element is taken: no element begins
    within quotes.
    """
    end = len(text)
    while end > 0:
        start = end
        while True:
            start = text.rfind(",", max(0, end - HOP_CHARACTERS), start)
            pairs = _pairs(text[max(start + 1, end - HOP_CHARACTERS) : end])
            if pairs is not None or start < 0:
                break
        named = [value for name, value in pairs or () if name == "for"]
        yield named[0] if len(named) == 1 and (start >= 0 or end <= HOP_CHARACTERS) else UNKNOWN
        end = start


def _pairs(element: str) -> list[tuple[str, str]] | None:
    """Return the names, in lower case, and the values of an element; None if it is not one."""
    pairs, at = [], 0
    while at < len(element):
        found = _pair(element, at)
        if found is None:
            return None
        value = found[2]
        pairs.append((found[1].lower(), re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value))
        at = found.end()
    return pairs or None


def client_address(environ: Mapping[str, Any], settings: Settings) -> str:
    """Return the address of the client of a request, behind trusted proxies too; see `resolve`."""
    peer = str(environ.get("REMOTE_ADDR") or "")
    return resolve(peer, environ, settings.trusted_proxies, settings.trusted_proxies_header)
