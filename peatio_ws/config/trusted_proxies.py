"""Networks of trusted proxies, and the header with which they report a client's address.

Pure. `client_address.py` applies them to a request.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Header = Literal["x-forwarded-for", "forwarded"]

_MAPPED: Final = 96
"""Bits before the IPv4 address in an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)."""


def network(text: str) -> Network:
    """Parse a network or an address. IPv4-mapped IPv6 gives an IPv4 network. Raises ValueError."""
    found = ipaddress.ip_network(text, strict=False)
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= _MAPPED:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), found.prefixlen - _MAPPED))
    return found
