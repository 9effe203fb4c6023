"""The PROXY protocol of load balancers that do not speak HTTP: who the client of a connection is.

The balancer sends a header before the client's bytes (TLS too), in version 1 (text) or 2 (binary) of
https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, cited here by section. A receiver must not guess (section
2): from a trusted proxy the header is required, and from other peers it is never read.

Never reads a byte that follows the header. Knows sockets only by their `recv`; knows neither HTTP nor TLS.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from peatio_ws.config.trusted_proxies import Network
from peatio_ws.transport.http.client_address import is_trusted_peer

MOST_BYTES: Final = 1024
"""The longest header to read. Section 2.2 wants room for 216 bytes of address and for some TLVs, all in one packet."""
_MOST_OF_V1: Final = 107
"""The longest line of version 1 with its CRLF (section 2.1)."""

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_PORT: Final = r"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(rf"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) {_PORT} {_PORT}\r\n").fullmatch
_UNKNOWN: Final = re.compile(r"PROXY UNKNOWN(?: [\x20-\x7e]*)?\r\n").fullmatch

_LOCAL, _PROXY = 0x20, 0x21
"""Version 2 with a command: the balancer's own connection, such as a health check; or a client's."""
_TCP4, _TCP6, _UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_ADDRESS_BYTES: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216, _UNSPECIFIED: 0}


class Unreadable(ValueError):
    """The bytes are not a header. The text says what is wrong, without the bytes."""


class Source(NamedTuple):
    """The client of a connection.

    Attributes:
        host: its address.
        port: its TCP port.
    """

    host: str
    port: int


def client_of(sock: Any, address: Any, trusted: Sequence[Network]) -> Any:
    """Return the address of a connection's client: of a trusted proxy's connection, the one in its header.

    Args:
        address: of the connection; an empty text for a Unix socket.

    Raises:
        Unreadable, OSError: as from `read_header`.
    """
    return (read_header(sock) or address) if is_trusted_peer(peer_of(address), trusted) else address


def peer_of(address: Any) -> str:
    """Return the host of a socket's address; an empty text for a Unix socket."""
    return str(address[0]) if isinstance(address, tuple) else ""


def read_header(sock: Any) -> Source | None:
    """Read the header at the beginning of a connection.

    Returns:
        The client; None if the balancer does not know it, or connects on its own behalf.

    Raises:
        Unreadable: it is not a header, or the connection ended within it.
        OSError: the connection failed.
    """
    head = _exactly(sock, len(_SIGNATURE))  # shorter than any header
    if head == _SIGNATURE:
        command, family, size = struct.unpack("!BBH", _exactly(sock, 4))
        if size > MOST_BYTES - len(_SIGNATURE) - 4:
            raise Unreadable("header is too long")
        return parse_v2(command, family, _exactly(sock, size))
    if not head.startswith(b"PROXY "):
        raise Unreadable("no header")
    return parse_v1(head + _rest_of_line(sock, _MOST_OF_V1 - len(head)))


def parse_v1(line: bytes) -> Source | None:
    """Parse a line of version 1 with its CRLF (section 2.1). Raises Unreadable."""
    text = line.decode("latin-1")
    found = _LINE(text)
    if found is None:
        if _UNKNOWN(text):
            return None
        raise Unreadable("malformed header of version 1")
    kind: Any = ipaddress.IPv4Address if found[1] == "TCP4" else ipaddress.IPv6Address
    ports = int(found[4]), int(found[5])
    try:
        source, _ = kind(found[2]), kind(found[3])
    except ValueError:
        raise Unreadable("malformed address in a header of version 1") from None
    if max(ports) > 65_535:
        raise Unreadable("malformed port in a header of version 1")
    return Source(str(source), ports[0])


def parse_v2(command: int, family: int, rest: bytes) -> Source | None:
    """Parse a header of version 2 (section 2.2). TLVs after the addresses are ignored.

    Args:
        command: the 13th byte: version and command.
        family: the 14th byte: address family and transport.
        rest: what follows the length.

    Raises:
        Unreadable: it is malformed, or of a transport other than TCP and Unix sockets.
    """
    if command not in (_LOCAL, _PROXY):
        raise Unreadable("unknown version or command")
    if command == _LOCAL:
        return None  # "the receiver must accept this connection as valid and must use the real connection endpoints"
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise Unreadable("unknown address family or transport")
    if len(rest) < size:
        raise Unreadable("header is shorter than its addresses")
    if family == _TCP4:
        return Source(str(ipaddress.IPv4Address(rest[:4])), int.from_bytes(rest[8:10]))
    if family == _TCP6:
        return Source(str(ipaddress.IPv6Address(rest[:16])), int.from_bytes(rest[32:34]))
    return None


def _exactly(sock: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += _received(sock.recv(size - len(data)))
    return data


def _rest_of_line(sock: Any, most: int) -> bytes:
    """Read up to the end of the line, at most this many bytes."""
    data = b""
    while not data.endswith(b"\n"):
        if len(data) == most:
            raise Unreadable("header is too long")
        seen = _received(sock.recv(most - len(data), socket.MSG_PEEK))
        data += _received(sock.recv(seen.find(b"\n") + 1 or len(seen)))
    return data


def _received(data: bytes) -> bytes:
    if not data:
        raise Unreadable("connection ended within the header")
    return data
