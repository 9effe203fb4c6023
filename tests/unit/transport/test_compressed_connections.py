"""A connection with compression: how much it reads at once, and what its client receives."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import gevent
import gevent.socket
import pytest

from peatio_ws import testing
from peatio_ws.close_codes import Close
from peatio_ws.transport.compression import negotiate
from peatio_ws.transport.frames import frame_end
from peatio_ws.transport.http.handshake import RawSocket
from peatio_ws.transport.inbox import MOST_UNREAD, SLICE_BYTES
from peatio_ws.transport.websocket import WebSocket
from peatio_ws.transport.websocket_handler import Handler
from tests.support.raw_client import TEXT, RawClient, close, frame
from tests.unit.samples import settings

LIMIT = 30
OFFER = "permessage-deflate; client_max_window_bits"
ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


BOMB = frame(TEXT, deflated(b" " * 16_000), reserved=4)


class Pair:
    """A WebSocket with compression and its client's socket."""

    def __init__(self, early: bytes = b"") -> None:
        self.sock, self.client = gevent.socket.socketpair()
        agreed = negotiate(OFFER, 512)
        assert agreed is not None
        raw = RawSocket(self.sock, early, b"", True, agreed.compression)
        self.ws = WebSocket(lambda _: raw, settings())
        self.ws.accept()

    def held(self) -> int:
        """Return how many bytes of read messages wait for the handler."""
        return sum(len(message) for _, message in self.ws.inbox.decoder.messages)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with gevent.Timeout(LIMIT):
        yield made
    made.sock.close()
    made.client.close()


def test_one_slice_yields_few_messages_however_small(pair: Pair) -> None:
    pair.client.sendall(BOMB * 200 + close(1000))
    for _ in range(200):
        assert pair.ws.receive() == " " * 16_000
        assert pair.held() <= 20 * 16_000
    assert pair.ws.receive() is None


def test_data_after_the_request_is_read_in_slices() -> None:
    pair = Pair(early=BOMB * 50 + close(1000))
    try:
        with gevent.Timeout(LIMIT):
            assert pair.held() == 0
            assert sum(1 for _ in pair.ws) == 50
    finally:
        pair.sock.close()
        pair.client.close()


def test_few_messages_are_decompressed_for_a_busy_handler(pair: Pair) -> None:
    pair.client.sendall(BOMB * 300)
    for _ in range(5):
        pair.ws.tick(pair.ws.opened)
    assert MOST_UNREAD <= len(pair.ws.inbox.decoder.messages) <= MOST_UNREAD + SLICE_BYTES // len(BOMB) + 1
    pair.client.sendall(close(1000))
    assert sum(1 for _ in pair.ws) == 300


def test_bomb_closes_the_connection_with_1009(pair: Pair) -> None:
    pair.client.sendall(frame(TEXT, deflated(b" " * 5_000_000), reserved=4))
    assert pair.ws.receive() is None
    data = pair.client.recv(1000)
    assert (data[0], int.from_bytes(data[2:4])) == (0x88, Close.TOO_BIG)


def test_a_text_is_sent_compressed_and_bytes_are_not(pair: Pair) -> None:
    pair.ws.send("grüße " * 200)
    pair.ws.send("grüße")
    pair.ws.send(b"x" * 2_000)
    data = pair.client.recv(10_000)
    first, second = frame_end(data, 1), frame_end(data, frame_end(data, 1) + 1)
    assert (data[0], data[first], data[second]) == (0xC1, 0x81, 0x82)
    assert second - first == 2 + len("grüße".encode())
    assert len(data) == second + 4 + 2_000
    inflated = zlib.decompressobj(-15).decompress(data[2:first] + b"\x00\x00\xff\xff")
    assert inflated.decode() == "grüße " * 200


# ---- the handshake


@pytest.mark.parametrize(
    ("offers", "variables", "answer"),
    [
        (OFFER, {}, ANSWER),
        ("permessage-deflate; server_max_window_bits=10", {}, f"{ANSWER}; server_max_window_bits=10"),
        (None, {}, None),
        ("permessage-bzip2", {}, None),
        ("permessage-deflate; unknown", {}, None),
        (OFFER, {"WEBSOCKET_COMPRESSION": "false"}, None),
    ],
)
def test_handshake_answer_contains_the_agreed_parameters(
    offers: str | None, variables: dict[str, str], answer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "settings", settings(**variables))
    with testing.serve(testing.gateway(**variables)) as server, RawClient(server.port) as client:
        found = client.request({"Sec-WebSocket-Extensions": offers})
        assert (found.status, found.headers.get("sec-websocket-extensions")) == (101, answer)
        client.send(frame(TEXT, deflated(b'{"event":"subscribe","streams":["a.trades"]}'), reserved=4))
        assert "challenge" in client.json()
        if answer is None:
            assert client.closed()[0] == Close.PROTOCOL_ERROR
        else:
            assert client.json() == {"success": {"message": "subscribed", "streams": ["a.trades"]}}


@pytest.mark.parametrize("compression", ["deflate", None])
def test_handlers_client_receives_the_same_either_way(compression: str | None) -> None:
    gateway = testing.gateway()

    @gateway.websocket("/echo")
    def echo(ws: testing.Any) -> None:
        for message in ws:
            ws.send(message)

    texts = ["", "a", "grüße " * 1000, json.dumps(list(range(2_000))), "x" * 512, "x" * 513]
    with (
        testing.serve(gateway) as server,
        testing.connect(f"ws://127.0.0.1:{server.port}/echo", compression=compression, open_timeout=LIMIT) as client,
    ):
        for text in texts:
            client.send(text)
            assert client.recv(timeout=LIMIT) == text
