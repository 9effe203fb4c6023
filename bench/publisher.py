"""Publishes orders to RabbitMQ in place of Peatio. Everything but the id is encoded in advance.

An order's id is 10^15 + CLOCK_MONOTONIC in microseconds at its publication. It has sixteen digits, so a double
represents it exactly. From the id, clients.c calculates the latency.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

from kombu import Connection

EXCHANGE = "peatio.events.ranger"
ID_EPOCH = 10**15
_BODY = (
    b'{"id":',
    b',"market":"btcusd","kind":"bid","side":"buy","ord_type":"limit","price":"9120.5","avg_price":"0.0",'
    b'"state":"wait","origin_volume":"1.5","remaining_volume":"1.5","executed_volume":"0.0","at":1712345678,'
    b'"created_at":1712345678,"updated_at":1712345678,"trades_count":0}',
)
CHUNK = 200
"""Events per write if they are published without a rate."""


def stamp() -> int:
    """Return an order's id that contains the current time."""
    return ID_EPOCH + time.monotonic_ns() // 1000


def body(number: int) -> bytes:
    """Return the body of an order as Peatio publishes it to `private.<uid>.order`."""
    return b"%b%d%b" % (_BODY[0], number, _BODY[1])


class Publisher:
    """A connection to the broker that only publishes.

    Args:
        url: of the broker.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(url, heartbeat=0)
        self._connection.connect()
        channel = self._connection.default_channel
        channel.exchange_declare(EXCHANGE, "topic", durable=False, auto_delete=False)
        self._channel = channel.channel_id
        self._sock: Any = channel.connection.transport.sock
        self._sock.settimeout(60)

    def close(self) -> None:
        """Close the socket, without AMQP's closing handshake."""
        self._connection.collect()

    def publish(self, keys: Sequence[str], events: int, rate: float) -> None:
        """Publish orders to the routing keys in turn.

        Args:
            rate: events per second, one per write; 0 to publish as fast as the broker accepts them.
        """
        size = len(body(stamp()))
        heads = [self._head(key, size) + _BODY[0] for key in keys]
        tail = _BODY[1] + b"\xce"
        send, start = self._sock.sendall, time.monotonic()
        if not rate:
            for first in range(0, events, CHUNK):
                numbers = range(first, min(first + CHUNK, events))
                send(b"".join([b"%b%d%b" % (heads[i % len(heads)], stamp(), tail) for i in numbers]))
            return
        for number in range(events):
            ahead = start + number / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            send(b"%b%d%b" % (heads[number % len(heads)], stamp(), tail))

    def message(self, key: str, text: bytes) -> bytes:
        """Return the frames that publish a body with a routing key, for `send`."""
        return self._head(key, len(text)) + text + b"\xce"

    def send(self, frames: bytes) -> None:
        """Write frames to the broker."""
        self._sock.sendall(frames)

    def _head(self, key: str, size: int) -> bytes:
        """Return basic.publish, the content header and the head of the body frame (AMQP 0-9-1 section 4.2)."""
        method = struct.pack(">HHH", 60, 40, 0) + _short(EXCHANGE) + _short(key) + b"\x00"
        properties = struct.pack(">HHQH", 60, 0, size, 0x8000) + _short("application/json")
        return self._frame(1, method) + self._frame(2, properties) + struct.pack(">BHI", 3, self._channel, size)

    def _frame(self, kind: int, payload: bytes) -> bytes:
        return struct.pack(">BHI", kind, self._channel, len(payload)) + payload + b"\xce"


def _short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
