"""permessage-deflate (contract section 9) under the real gunicorn, over plain sockets and TLS: clients receive the same
texts with and without it, in fewer bytes, and a message cannot decompress to more than its limit.
"""

from __future__ import annotations

import contextlib
import json
import random
import ssl
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect

from tests.support.certificate import Certificate
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer
from tests.support.raw_client import CLOSE, CONT, PING, PONG, TEXT, Frame, RawClient, frame
from tests.support.servers import RabbitMQ

Start = Callable[..., GatewayProcess]
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
TICKERS = {f"market{number}": {"last": str(number / 7), "volume": "12.5"} for number in range(90)}
BOOK = {"asks": [[f"{n}.5", "1.25"] for n in range(300)], "bids": [[f"{n}.0", "2"] for n in range(300)], "sequence": 1}
CHANGE = {"asks": ["7.5", "3"], "bids": [], "sequence": 2}
WINDOWS = [{}, *({"server_max_window_bits": bits} for bits in (9, 11, 12, 15)), {"client_max_window_bits": 9}]
CODES = {1002, 1007, 1008, 1009}


class Place(NamedTuple):
    """A gateway and its clients' TLS context."""

    gateway: GatewayProcess
    tls: ssl.SSLContext | None

    @contextlib.contextmanager
    def connect(self, path: str, offer: dict[str, Any] | None) -> Iterator[ClientConnection]:
        url = f"{'wss' if self.tls else 'ws'}://localhost:{self.gateway.port}/{path}"
        extensions = None if offer is None else [ClientPerMessageDeflateFactory(**offer)]
        with connect(
            url, ssl=self.tls, compression=None, extensions=extensions, open_timeout=WAIT, close_timeout=WAIT
        ) as client:
            assert bool(client.protocol.extensions) is (offer is not None)
            yield client

    @contextlib.contextmanager
    def raw(self) -> Iterator[RawClient]:
        with RawClient(self.gateway.port, tls=self.tls) as client:
            answer = client.request(OFFER)
            assert answer.headers["sec-websocket-extensions"].startswith("permessage-deflate;")
            assert "challenge" in client.json()
            yield client


@pytest.fixture(scope="module", params=["plain", "tls"])
def place(request: pytest.FixtureRequest, folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[Place]:
    environ, tls = {"AMQP_URL": broker.url, **signer.environ}, None
    if request.param == "tls":
        made = Certificate(folder / "compression-tls")
        environ |= {"WEBSOCKET_SSL_CERT": str(made.cert), "WEBSOCKET_SSL_KEY": str(made.key)}
        tls = made.trusted_by_threads()
    process = GatewayProcess(folder, environ)
    yield Place(process, tls)
    process.stop()


def deflated(data: bytes, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed(message: Any) -> bytes:
    return frame(TEXT, deflated(json.dumps(message).encode()), reserved=4)


def take(client: ClientConnection, count: int) -> list[str]:
    return [str(client.recv(timeout=WAIT)) for _ in range(count)]


def test_clients_receive_the_same_texts_with_and_without_compression(place: Place, publisher: Publisher) -> None:
    path = "public?stream=global.tickers,btcusd.trades,btcusd.ob-inc"
    with contextlib.ExitStack() as stack:
        offers: list[dict[str, Any] | None] = [None, *WINDOWS]
        clients = [stack.enter_context(place.connect(path, offer)) for offer in offers]
        for client in clients:
            take(client, 1)
        publisher.event("public.global.tickers", TICKERS)
        publisher.event("public.btcusd.ob-snap", BOOK)
        publisher.event("public.btcusd.ob-inc", CHANGE)
        publisher.event("public.btcusd.trades", {"trades": [{"tid": 1}]})
        first, *others = [take(client, 4) for client in clients]
        assert {json.loads(text).popitem()[0] for text in first} == {
            "global.tickers", "btcusd.ob-snap", "btcusd.ob-inc", "btcusd.trades"
        }  # fmt: skip
        assert [texts for texts in others if texts != first] == []


def test_a_later_subscriber_receives_the_same_book(place: Place, publisher: Publisher) -> None:
    with place.connect("public?stream=btcusd.ob-inc", None) as early:
        take(early, 1)
        publisher.event("public.btcusd.ob-snap", BOOK)
        take(early, 1)
        publisher.event("public.btcusd.ob-inc", CHANGE)
        take(early, 1)
        found = []
        for offer in (None, {}, {"server_max_window_bits": 9}):
            with place.connect("public?stream=btcusd.ob-inc", offer) as late:
                found.append(take(late, 2))
    assert found[0] == found[1] == found[2]


def test_messages_of_clients_may_be_compressed(place: Place, signer: Signer) -> None:
    with place.connect("", {}) as client:
        assert "challenge" in str(client.recv(timeout=WAIT))
        client.send(json.dumps({"jwt": f"Bearer {signer.token('IDANN')}", "padding": "x" * 10_000}))
        assert json.loads(client.recv(timeout=WAIT)) == {"success": {"message": "Authenticated."}}


def test_compressed_tickers_take_less_than_a_third_of_the_bytes(place: Place, publisher: Publisher) -> None:
    with RawClient(place.gateway.port, tls=place.tls) as client:
        client.request(OFFER, line="GET /public?stream=global.tickers HTTP/1.1")
        assert "success" in client.json()
        publisher.event("public.global.tickers", TICKERS)
        (first, second, *size) = client.take(4)
        assert (first, second) == (0xC1, 126)
        payload = client.take(int.from_bytes(size))
        text = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        assert json.loads(text) == {"global.tickers": TICKERS}
        assert len(payload) < len(text) / 3


def test_bomb_closes_with_1009_and_others_are_served(place: Place) -> None:
    for bomb in (
        frame(TEXT, deflated(b" " * 10_000_000), reserved=4),
        frame(TEXT, deflated(b" " * 10_000_000)[:5_000], fin=False, reserved=4),
    ):
        with place.raw() as bystander, place.raw() as client:
            client.send(bomb)
            assert client.closed()[0] == 1009
            bystander.send(frame(PING, b"still there?"))
            assert bystander.next() == Frame(PONG, b"still there?")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"\x07\x00", reserved=4), 1002, id="not deflate"),
        pytest.param(frame(TEXT, deflated(b'{"event":"subscribe"}')[:9], reserved=4), 1002, id="cut off"),
        pytest.param(
            frame(TEXT, deflated(b"{}"), fin=False, reserved=4) + frame(CONT, b"", reserved=4), 1002, id="continuation"
        ),
        pytest.param(frame(PING, b"", reserved=4), 1002, id="control frame"),
        pytest.param(frame(TEXT, deflated(b"{}"), reserved=5), 1002, id="another reserved bit"),
        pytest.param(frame(TEXT, deflated(b"\xff"), reserved=4), 1007, id="not UTF-8"),
    ],
)
def test_malformed_compressed_frames_close_the_connection(place: Place, data: bytes, code: int) -> None:
    with place.raw() as client:
        client.send(data)
        assert client.closed()[0] == code


def test_compressed_frames_without_negotiation_close_with_1002(place: Place) -> None:
    with RawClient(place.gateway.port, tls=place.tls) as client:
        answer = client.request()
        assert "sec-websocket-extensions" not in answer.headers
        assert "challenge" in client.json()
        client.send(compressed({"event": "subscribe", "streams": []}))
        assert client.closed()[0] == 1002


def test_invalid_compressed_data_is_answered_or_closed_with_a_code(place: Place) -> None:
    chance = random.Random(20)
    for _ in range(150):
        payload = bytearray(deflated(json.dumps({"event": "subscribe", "streams": ["a.b"] * 20}).encode()))
        for _ in range(chance.choice((0, 1, 1, 3))):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        del payload[chance.choice((len(payload), chance.randrange(len(payload)))) :]
        with place.raw() as client:
            fin = chance.random() < 0.8
            client.send(frame(TEXT, bytes(payload), fin=fin, reserved=4), b"" if fin else frame(CONT), frame(PING))
            found = client.next()
            assert found is not None, payload.hex()
            if found.opcode == CLOSE:
                assert int.from_bytes(found.payload[:2]) in CODES, payload.hex()
            else:
                assert found.opcode in (TEXT, PONG), payload.hex()
    assert place.gateway.tracebacks() == []


def test_message_limits_apply_to_compressed_messages(place: Place) -> None:
    with place.raw() as client:
        client.send(compressed({"event": "dance", "padding": " " * 15_000}) * 100)
        answers = 0
        while (found := client.next()) is not None and found.opcode == TEXT:
            answers += 1
        assert found is not None
        assert int.from_bytes(found.payload[:2]) == 1008
        assert answers >= 60


def test_compression_can_be_switched_off(start: Start, publisher: Publisher) -> None:
    gateway = start(WEBSOCKET_COMPRESSION="false")
    with RawClient(gateway.port) as client:
        answer = client.request(OFFER, line="GET /public?stream=global.tickers HTTP/1.1")
        assert (answer.status, answer.headers.get("sec-websocket-extensions")) == (101, None)
        assert "success" in client.json()
        publisher.event("public.global.tickers", TICKERS)
        assert client.json() == {"global.tickers": TICKERS}


def test_compression_threshold_can_be_set(start: Start, publisher: Publisher) -> None:
    gateway = start(WEBSOCKET_COMPRESSION_THRESHOLD="100000")
    with RawClient(gateway.port) as client:
        client.request(OFFER, line="GET /public?stream=global.tickers HTTP/1.1")
        assert "success" in client.json()
        publisher.event("public.global.tickers", TICKERS)
        assert client.json() == {"global.tickers": TICKERS}


def test_nodes_websocket_receives_the_same_texts_either_way(
    place: Place, publisher: Publisher, node_modules: None
) -> None:
    publisher.event("public.btcusd.ob-snap", BOOK)
    message = json.dumps({"event": "subscribe", "streams": [f"{name}.trades" for name in "abcdefgh" * 10]})
    url = f"{'wss' if place.tls else 'ws'}://localhost:{place.gateway.port}/public?stream=btcusd.ob-inc"
    with place.connect("public?stream=btcusd.ob-inc", None) as plain:
        expected = take(plain, 2)
        plain.send(message)
        expected += take(plain, 1)
    for offered in ("true", "false"):
        script = ROOT / "tests" / "support" / "compressed_client.mjs"
        done = subprocess.run(
            ["node", str(script), url, offered, "3", message],
            capture_output=True,
            text=True,
            timeout=WAIT,
            env={"PATH": "/usr/bin:/bin", "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
        )
        assert done.returncode == 0, done.stderr
        agreed, *texts = [json.loads(line) for line in done.stdout.splitlines()]
        assert agreed == ("permessage-deflate" if offered == "true" else "")
        assert texts == expected


def test_connection_with_compression_closes_normally(place: Place) -> None:
    with place.connect("public", {}) as client:
        take(client, 1)
        client.close(1000)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=WAIT)
        assert client.protocol.close_code == 1000
