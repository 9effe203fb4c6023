"""Headers of the PROXY protocol, well-formed, malformed, and in pieces."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.config.trusted_proxies import network
from peatio_ws.transport.http.proxy_protocol import (
    MOST_BYTES,
    Source,
    Unreadable,
    client_of,
    parse_v1,
    parse_v2,
    read_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX, UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
NEXT = b"GET / HTTP/1.1\r\n\r\n"


def v1(source: str = "203.0.113.7", port: object = 50_000, kind: str = "TCP4", to: str = "10.0.0.1") -> bytes:
    return f"PROXY {kind} {source} {to} {port} 443\r\n".encode()


def v2(rest: bytes, family: int = TCP4, command: int = PROXY, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if size is None else size) + rest


def of_addresses(source: str, port: int) -> bytes:
    packed = ipaddress.ip_address(source).packed
    return packed + bytes(len(packed)) + struct.pack("!HH", port, 443)


V4, V6 = of_addresses("203.0.113.7", 50_000), of_addresses("2001:db8::7", 50_000)
GOOD: list[tuple[bytes, Source | None]] = [
    (v1(), Source("203.0.113.7", 50_000)),
    (v1(port=0), Source("203.0.113.7", 0)),
    (v1("2001:db8::7", kind="TCP6", to="::1"), Source("2001:db8::7", 50_000)),
    (v1("2001:DB8:0:0:0:0:0:7", kind="TCP6", to="::1"), Source("2001:db8::7", 50_000)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (b"PROXY UNKNOWN " + b"A" * 91 + b"\r\n", None),
    (v2(V4), Source("203.0.113.7", 50_000)),
    (v2(V6, TCP6), Source("2001:db8::7", 50_000)),
    (v2(V4 + b"\x04\x00\x02\x00\x00"), Source("203.0.113.7", 50_000)),
    (v2(bytes(216), UNIX), None),
    (v2(b"", UNSPECIFIED), None),
    (v2(b"\x04\x00\x02\x00\x00", UNSPECIFIED), None),
    (v2(b"", UNSPECIFIED, LOCAL), None),
    (v2(V4, TCP4, LOCAL), None),
    (v2(b"any bytes", 0xFF, LOCAL), None),
    (v2(V4 + bytes(MOST_BYTES - 16 - len(V4))), Source("203.0.113.7", 50_000)),
]
BAD: list[bytes] = [
    NEXT,
    b"proxy TCP4 203.0.113.7 10.0.0.1 50000 443\r\n",
    b" " + v1(),
    v1().replace(b"\r\n", b"\n"),
    v1().replace(b" 443", b"  443"),
    v1().replace(b" 443", b" 443 "),
    v1().replace(b" ", b"\t"),
    v1(port=65_536),
    v1(port="050000"),
    v1(port="-1"),
    v1(port="+1"),
    v1(port="٣"),
    v1("203.0.113.07"),
    v1("203.0.113"),
    v1("203.0.113.256"),
    v1("2001:db8::7"),
    v1("203.0.113.7", kind="TCP6"),
    v1("fe80::1%eth0", kind="TCP6", to="::1"),
    v1(kind="UDP4"),
    v1(to="localhost"),
    b"PROXY TCP4 203.0.113.7 10.0.0.1 50000\r\n",
    b"PROXY UNKNOWN\x00\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY " + b"A" * 200 + b"\r\n",
    b"PROXY UNKNOWN " + b"A" * 92 + b"\r\n",
    v2(V4, command=0x11),
    v2(V4, command=0x22),
    v2(V4, 0x12),
    v2(V4, 0x41),
    v2(V4[:-1]),
    v2(V4, TCP6),
    v2(V4, UNIX),
    v2(b"", TCP4),
    v2(V4 + bytes(MOST_BYTES - 16 - len(V4) + 1)),
    v2(V4, size=65_535),
    SIGNATURE.replace(b"QUIT", b"quit") + bytes(16),
]


class Pieces:
    """A socket that receives at most so many bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.left, self._size = data, size

    def recv(self, most: int, flags: int = 0) -> bytes:
        assert most > 0
        data = self.left[: min(most, self._size)]
        if not flags & socket.MSG_PEEK:
            self.left = self.left[len(data) :]
        return data


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("header", "source"), GOOD)
def test_header_is_read_and_nothing_that_follows_it(header: bytes, source: Source | None, size: int) -> None:
    sock = Pieces(header + NEXT, size)
    assert read_header(sock) == source
    assert sock.left == NEXT


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize("header", BAD)
def test_malformed_header_is_refused_within_the_limit(header: bytes, size: int) -> None:
    sock = Pieces(header + NEXT * 100, size)
    before = len(sock.left)
    with pytest.raises(Unreadable) as caught:
        read_header(sock)
    assert before - len(sock.left) <= MOST_BYTES
    assert "203" not in str(caught.value)


@pytest.mark.parametrize(("header", "_source"), GOOD)
def test_connection_that_ends_within_a_header_is_refused(header: bytes, _source: object) -> None:
    for end in range(len(header)):
        with pytest.raises(Unreadable, match="ended within"):
            read_header(Pieces(header[:end], 10_000))


@given(data=st.binary(max_size=300), size=st.integers(1, 400))
def test_any_bytes_are_a_header_or_unreadable(data: bytes, size: int) -> None:
    _is_decided(data, size)


@given(start=st.sampled_from([header for header, _ in GOOD] + BAD), changes=st.data())
def test_a_changed_header_is_a_header_or_unreadable(start: bytes, changes: Any) -> None:
    at = changes.draw(st.integers(0, len(start)))
    length = changes.draw(st.integers(0, 4))
    _is_decided(start[:at] + changes.draw(st.binary(max_size=4)) + start[at + length :], 10_000)


def _is_decided(data: bytes, size: int) -> None:
    sock = Pieces(data, size)
    try:
        found = read_header(sock)
    except Unreadable:
        pass
    else:
        if found is not None:
            ipaddress.ip_address(found.host)
            assert 0 <= found.port <= 65_535
    assert len(data) - len(sock.left) <= MOST_BYTES


@given(address=st.ip_addresses(), port=st.integers(0, 65_535))
def test_every_address_is_read_in_both_versions(address: Any, port: int) -> None:
    kind, to, family = ("TCP4", "10.0.0.1", TCP4) if address.version == 4 else ("TCP6", "::1", TCP6)
    expected = Source(str(address), port)
    assert parse_v1(v1(str(address), port, kind, to)) == expected
    assert parse_v2(PROXY, family, of_addresses(str(address), port)) == expected


@pytest.mark.parametrize(
    ("address", "trusted", "client"),
    [
        (("10.0.0.2", 40_000), ["10.0.0.0/8"], Source("203.0.113.7", 50_000)),
        (("::ffff:10.0.0.2", 40_000, 0, 0), ["10.0.0.0/8"], Source("203.0.113.7", 50_000)),
        ("", ["10.0.0.0/8"], Source("203.0.113.7", 50_000)),
        (("192.0.2.1", 40_000), ["10.0.0.0/8"], ("192.0.2.1", 40_000)),
        (("10.0.0.2", 40_000), [], ("10.0.0.2", 40_000)),
        ("", [], ""),
    ],
)
def test_only_a_trusted_peer_s_header_is_read(address: Any, trusted: list[str], client: object) -> None:
    sock = Pieces(v1() + NEXT, 10_000)
    assert client_of(sock, address, [network(one) for one in trusted]) == client
    assert sock.left == (NEXT if isinstance(client, Source) else v1() + NEXT)


def test_without_a_client_the_address_of_the_balancer_stays() -> None:
    address = ("10.0.0.2", 40_000)
    for header in (b"PROXY UNKNOWN\r\n", v2(V4, command=LOCAL)):
        assert client_of(Pieces(header, 10_000), address, [network("10.0.0.2")]) == address


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_real_socket_keeps_what_follows(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    for header in (v1(), v2(V4)):
        theirs.sendall(header + NEXT)
        assert read_header(ours) == Source("203.0.113.7", 50_000)
        assert ours.recv(1000) == NEXT
