"""Other clients and messages while one client subscribes to many large books."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.programs.soak import held
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.raw_client import CLOSE, PING, PONG, TEXT, RawClient, frame, text
from tests.support.servers import RabbitMQ, wait_until

NAMES = [f"wide{number}.ob" for number in range(30)]
STREAMS = [f"{name}-inc" for name in NAMES]
ROWS = [[f"{number}.0", "1.5"] for number in range(1, 10_001)]
"""A book of 160 KB. Together the books exceed what kernel and outbox hold for one client."""


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    limits = {"WEBSOCKET_OUTBOX_BYTES": "300000", "WEBSOCKET_PING_INTERVAL": "1", "WEBSOCKET_PING_TIMEOUT": "2"}
    command = ("gunicorn", "tests.support.apps.soak_app")
    process = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **limits}, command)
    with Publisher(broker.url) as publisher:
        for name in NAMES:
            publisher.event(f"public.{name}-snap", {"asks": ROWS, "bids": [], "sequence": 0})
        publisher.event("public.done.x", 1)
    nobody = 'peatio_ws_events_total{outcome="nobody"}'
    wait_until(lambda: process.metric(nobody) >= len(NAMES) + 1, "all books received")
    yield process
    process.stop()


def change(publisher: Publisher, sequence: int) -> None:
    for name in NAMES:
        publisher.event(f"public.{name}-inc", {"asks": ["0.5", str(sequence)], "sequence": sequence})


def event(client: RawClient) -> tuple[str, Any]:
    """Return name and body of the next text frame. Answers pings."""
    while (found := client.next()) is not None and found.opcode == PING:
        client.send(frame(PONG, found.payload))
    assert found is not None
    assert found.opcode == TEXT, found
    ((name, body),) = json.loads(found.payload).items()
    return name, body


def subscriber(gateway: GatewayProcess, *more: bytes) -> RawClient:
    """A client that has requested all books and sent these messages, and that reads slowly or not at all."""
    client = RawClient(gateway.port, receive_buffer=65_536)
    client.upgrade("/public")
    assert client.json()["success"]["streams"] == []
    client.send(text({"event": "subscribe", "streams": STREAMS}), *more)
    wait_until(lambda: 0 < held(gateway)["register"] < len(NAMES), "some of its books are being sent")
    return client


def wait_until_gone(gateway: GatewayProcess) -> None:
    wait_until(lambda: held(gateway)["connections"] == 0, "no connection is left")
    assert held(gateway)["register"] == 0


def test_client_that_reads_books_slowly_is_alive_and_misses_nothing(
    gateway: GatewayProcess, publisher: Publisher
) -> None:
    """It reads for longer than the ping timeout, and cannot answer the pings, which wait behind the books."""
    sequences: dict[str, int] = {}
    began, changes = time.monotonic(), 0
    with subscriber(gateway) as client:
        while True:
            name, body = event(client)
            if name == "success":
                break
            stream, _, kind = name.rpartition("-")
            assert (kind == "snap") is (stream not in sequences)
            assert kind == "snap" or body["sequence"] == sequences[stream] + 1
            sequences[stream] = body["sequence"]
            if kind == "snap":
                if not len(sequences) % 5:
                    changes += 1
                    change(publisher, changes)
                while time.monotonic() < began + len(sequences) * 0.15:  # the client's bandwidth
                    time.sleep(0.01)
        assert body["streams"] == STREAMS
        while min(sequences.values()) < changes:
            name, body = event(client)
            assert body["sequence"] == sequences[name[:-4]] + 1
            sequences[name[:-4]] += 1
        assert time.monotonic() - began > 4


def test_client_that_leaves_before_the_last_book_is_forgotten(gateway: GatewayProcess) -> None:
    subscriber(gateway).drop()
    wait_until_gone(gateway)
    subscriber(gateway).reset()
    wait_until_gone(gateway)


def test_messages_sent_meanwhile_are_read_after_the_last_book(gateway: GatewayProcess, publisher: Publisher) -> None:
    unsubscribe, hang_up = text({"event": "unsubscribe", "streams": STREAMS[1:]}), frame(CLOSE, b"\x03\xe8")
    with subscriber(gateway, unsubscribe, hang_up) as client:
        names = []
        while (found := client.next()) is not None and found.opcode != CLOSE:
            if found.opcode == TEXT:
                ((name, body),) = json.loads(found.payload).items()
                names.append(name if name != "success" else (body["message"], len(body["streams"])))
        assert names == [*(f"{name}-snap" for name in NAMES), ("subscribed", len(NAMES)), ("unsubscribed", 1)]
    wait_until_gone(gateway)
