"""A text is compressed once for all clients that receive it compressed, and not at all without such clients."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.router import Router
from peatio_ws.transport.compression import SMALL_WINDOW_BITS, WINDOW_BITS, Compression
from peatio_ws.transport.frames import payload_at
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, channels, cursors, on_ranger

THRESHOLD = 512
LEVELS = [[f"{price}.5", "1.25"] for price in range(9_000, 9_100)]
TICKERS = {f"market{number}": {"last": str(number / 7), "volume": "1.0"} for number in range(60)}


class Client:
    """A receiver with a socket. Decodes what is sent to it."""

    def __init__(self, compression: Compression | None) -> None:
        self.wire = Wire()
        outbox = Outbox(self.wire, 2**30, 3600.0, compression)  # type: ignore[arg-type]
        self.receiver = Receiver(outbox, Dialect.RANGER)

    def take(self) -> list[tuple[bool, Any]]:
        """Return each text and whether it was compressed."""
        self.receiver.outbox.flush()
        found, at, data = [], 0, self.wire.taken
        while at < len(data):
            start, end = payload_at(data, at)
            payload, compressed = data[start:end], data[at] == 0xC1
            if compressed:
                payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            found.append((compressed, json.loads(payload)))
            at = end
        self.wire.taken = b""
        return found


@pytest.fixture
def compression() -> Compression:
    return Compression(WINDOW_BITS, THRESHOLD)


def router_with(batch: Batch) -> Router:
    counters = WorkerCounters()
    return Router(lambda number, owner: None, lambda order: None, cursors(), batch, channels(batch=batch), counters)


@pytest.fixture
def router() -> Router:
    return router_with(Batch(WorkerCounters(), THRESHOLD))


def send(router: Router, *deliveries: Delivery) -> None:
    for delivery in deliveries:
        router.route(read(delivery))
    router.batch.flush()


def subscribed(router: Router, stream: str, *compressions: Compression | None) -> list[Client]:
    clients = [Client(one) for one in compressions]
    for client in clients:
        router.subscribe(client.receiver, stream)
    return clients


def test_event_is_compressed_once_for_all_clients(router: Router, compression: Compression) -> None:
    small = Compression(SMALL_WINDOW_BITS, THRESHOLD)
    clients = subscribed(router, "global.tickers", compression, None, compression, small, None, compression)
    events = [TICKERS | {"number": number} for number in range(3)]
    send(router, *(on_ranger("public.global.tickers", event) for event in events))
    came = [client.take() for client in clients]
    assert came[0] == came[2] == came[3] == came[5] == [(True, {"global.tickers": event}) for event in events]
    assert came[1] == came[4] == [(False, {"global.tickers": event}) for event in events]
    assert (compression.texts, small.texts) == (3, 3)


def test_nothing_is_compressed_for_an_audience_without_compression(router: Router, compression: Compression) -> None:
    (other,) = subscribed(router, "btcusd.trades", compression)
    (plain,) = subscribed(router, "global.tickers", None)
    send(router, on_ranger("public.global.tickers", TICKERS))
    assert plain.take() == [(False, {"global.tickers": TICKERS})]
    assert (other.take(), compression.texts) == ([], 0)


def test_a_small_event_is_not_compressed(router: Router, compression: Compression) -> None:
    (client,) = subscribed(router, "btcusd.trades", compression)
    send(router, on_ranger("public.btcusd.trades", {"price": "1" * 400}))
    assert client.take() == [(False, {"btcusd.trades": {"price": "1" * 400}})]
    assert compression.texts == 0


def test_large_and_small_events_of_a_batch_are_in_order(router: Router, compression: Compression) -> None:
    clients = subscribed(router, "global.tickers", compression, None)
    send(router, *(on_ranger("public.global.tickers", body) for body in ({"n": 1}, TICKERS, {"n": 2}, TICKERS)))
    for client in clients:
        assert [text["global.tickers"] for _, text in client.take()] == [{"n": 1}, TICKERS, {"n": 2}, TICKERS]


def test_book_is_compressed_once_per_change(router: Router, compression: Compression) -> None:
    book = {"asks": LEVELS, "bids": LEVELS, "sequence": 1}
    send(router, on_ranger("public.btcusd.ob-snap", book))
    clients = []
    for number in range(5):
        clients += subscribed(router, "btcusd.ob-inc", compression, None)
        # Another text in between: the channel keeps the compressed book.
        compression.compress(b"\x81\x7e%b%b" % ((1000).to_bytes(2), b"%d" % number * 1000))
    assert compression.texts == 5 + 1
    came = [client.take() for client in clients]
    assert [found[0][0] for found in came] == [True, False] * 5
    assert [[text for _, text in found] for found in came] == [[text for _, text in came[0]]] * 10
    send(router, on_ranger("public.btcusd.ob-inc", {"asks": ["9000.5", "2"], "bids": [], "sequence": 2}))
    (late,) = subscribed(router, "btcusd.ob-inc", compression)
    assert late.take()[0][0]
    assert compression.texts == 7


def test_book_for_waiting_clients_is_compressed_once(router: Router, compression: Compression) -> None:
    clients = subscribed(router, "btcusd.ob-inc", *[compression] * 4, None)
    send(router, on_ranger("public.btcusd.ob-snap", {"asks": LEVELS, "bids": LEVELS, "sequence": 1}))
    assert [client.take()[0][0] for client in clients] == [True] * 4 + [False]
    assert compression.texts == 1


def test_private_event_is_compressed_once_for_all_of_a_member(router: Router, compression: Compression) -> None:
    clients = [Client(one) for one in (compression, None, compression)]
    for client in clients:
        client.receiver.streams.append("balances")
        client.receiver.admit("ID1")
        router.go_live(client.receiver)
    send(router, on_ranger("private.ID1.balances", TICKERS))
    assert [client.take() for client in clients] == [
        [(compressed, {"balances": TICKERS})] for compressed in (True, False, True)
    ]
    assert compression.texts == 1


def test_router_without_compression_sends_plain_texts(compression: Compression) -> None:
    router = router_with(Batch(WorkerCounters()))
    (client,) = subscribed(router, "global.tickers", compression)
    send(router, on_ranger("public.global.tickers", TICKERS))
    assert client.take() == [(False, {"global.tickers": TICKERS})]
