"""A follower of a book reads the same, however the bytes arrive."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from peatio_ws.transport.frames import text_frame
from tests.support.followers import Follower, Market

SUBSCRIBED = b'{"success":{"message":"subscribed","streams":["any.ob-inc"]}}'


@pytest.fixture(scope="module")
def market() -> Market:
    return Market("any.ob", 20, levels=2)


@pytest.fixture(scope="module")
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class Arriving:
    """A socket to which these bytes come, one part at a time."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)

    def recv(self, _size: int) -> bytes:
        return self.parts.pop(0)


def sent(market: Market) -> bytes:
    """Return what a gateway sends that lacks some increments, and then sends the book again."""
    incs = [text_frame(b'{"any.ob-inc":%b}' % body) for body in market.increments]
    snaps = {}
    for number, book in market.books([3, 12]).items():
        asks = sorted(book["asks"].items(), key=lambda row: float(row[0]))
        bids = sorted(book["bids"].items(), key=lambda row: -float(row[0]))
        snaps[number] = text_frame(
            json.dumps({"any.ob-snap": {"asks": asks, "bids": bids, "sequence": number}}).encode()
        )
    head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + text_frame(SUBSCRIBED)
    return head + b"".join([snaps[3], *incs[3:5], *incs[8:10], snaps[12], *incs[12:]])


def test_bytes_may_arrive_in_any_two_parts(market: Market, server: socket.socket) -> None:
    whole = sent(market)
    for size in range(1, len(whole)):
        follower = Follower(market, server.getsockname()[1], again=True)
        server.accept()[0].close()
        follower.sock.close()
        parts = Arriving(whole[:size], whole[size:])
        follower.sock = parts  # type: ignore[assignment]
        while parts.parts:
            follower.read()
        assert follower.fault is None
        assert follower.done, f"stuck after {whole[max(0, size - 20) : size]!r}"
