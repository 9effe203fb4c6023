"""A publisher like Peatio: no confirms, one connection, and it gives up at the first error.

    python -m tests.support.steady_publisher URL RATE

Publishes numbered orders to `peatio.orderbook`, RATE a second, until its standard input ends. Prints how many; ends
with status 1 and the error if the broker closes its channel or its connection.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import sys
import time

import amqp
from kombu.utils.url import url_to_parts

from peatio_ws.protocol.exchanges import ORDERBOOK

TICK = 0.001


def main(url: str, rate: str) -> int:
    _, host, port, user, password, vhost, _ = url_to_parts(url)
    connection = amqp.Connection(
        f"{host}:{port}",
        userid=user,
        password=password,
        virtual_host=vhost or "/",
        socket_settings={socket.TCP_USER_TIMEOUT: 60_000},  # the default of one second is too short on a busy machine
    )
    connection.connect()
    channel = connection.channel()
    channel.exchange_declare(ORDERBOOK, "fanout", durable=False, auto_delete=False)
    count, began = itertools.count(1), time.monotonic()
    sent = 0
    try:
        while not select.select([sys.stdin], [], [], 0)[0]:
            due = int((time.monotonic() - began) * int(rate)) - sent
            for _ in range(min(due, int(rate))):
                sent = next(count)
                body = b'{"id":%d,"side":"sell","market_id":"btcusd","state":"wait"}' % sent
                channel.basic_publish(amqp.Message(body, application_headers={"uid": "ID1"}), ORDERBOOK, "")
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=TICK)
    except Exception as error:
        print(f"after {sent} messages: {error!r}", flush=True)
        return 1
    print(sent, flush=True)
    with contextlib.suppress(Exception):
        connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
