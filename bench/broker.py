"""Measure the latency of events at a consumer that only reads, from a queue and from a stream.

    python -m bench.broker [--rate 2000] [--events 6000] [--rounds 3]

Each round measures a queue without acknowledgements, and a stream with different prefetches and intervals of
acknowledgement. The consumer is a loop of `recv()` on a blocking socket in a separate process. Prints the latency since
publication and the CPU time that RabbitMQ used for an event, in microseconds. No gateway can be faster than this
consumer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

from kombu import Connection

from bench import processes
from bench.publisher import EXCHANGE, Publisher, stamp
from tests.support.servers import RabbitMQ, scratch

BODY = re.compile(rb'"id":(\d+)[^\xce]*\xce')
"""Matches from the id of an order to the end of its frame."""
READ_BYTES = 65_536
WARM_UP = 6
"""The latencies of the first sixth of the events do not count."""


class Way(NamedTuple):
    """How the consumer reads: from a stream, or from a queue if `prefetch` is 0.

    Attributes:
        prefetch: in events.
        ack_each: acknowledge a stream after this many events.
    """

    prefetch: int = 0
    ack_each: int = 0

    def __str__(self) -> str:
        return f"stream, prefetch {self.prefetch:,}, ack each {self.ack_each}" if self.prefetch else "queue"


WAYS = (Way(), Way(2000, 500), Way(2000, 50), Way(100, 1), Way(65_000, 500))


def consume(url: str, way: Way, events: int, out: Pipe) -> None:
    """Consume events. Send None through the pipe after subscribing, and the latencies in microseconds at the end."""
    connection: Any = Connection(url, heartbeat=0)
    connection.connect()
    channel, name = connection.default_channel, f"bench-{way.prefetch}-{way.ack_each}"
    stream = way.prefetch > 0
    kind = {"x-queue-type": "stream"} if stream else {}
    channel.queue_declare(name, durable=stream, exclusive=not stream, auto_delete=False, arguments=kind)
    channel.queue_bind(name, EXCHANGE, "private.#")
    if stream:
        channel.basic_qos(0, way.prefetch, False)
    start = {"x-stream-offset": "next"} if stream else {}
    channel.basic_consume(name, no_ack=not stream, arguments=start, callback=lambda _: None)
    sock = channel.connection.transport.sock
    sock.settimeout(60)
    out.send(None)
    latencies, buffer, acked = list[int](), b"", 0
    while len(latencies) < events:
        buffer += sock.recv(READ_BYTES)
        now, end = stamp(), 0
        for found in BODY.finditer(buffer):
            latencies.append(now - int(found[1]))
            end = found.end()
        buffer = buffer[end:]
        if stream and len(latencies) - acked >= way.ack_each:
            acked = len(latencies)
            channel.basic_ack(acked, multiple=True)
    out.send(latencies)
    if stream:
        channel.queue_delete(name)
    connection.collect()


def measure(broker: RabbitMQ, way: Way, events: int, rate: int) -> str:
    """Measure one way of reading, and return a line of the table."""
    mine, theirs = multiprocessing.Pipe()
    consumer = multiprocessing.Process(target=consume, args=(broker.url, way, events, theirs))
    publisher, tree = Publisher(broker.url), processes.tree(broker.pid)
    consumer.start()
    try:
        mine.recv()
        cpu = processes.cpu_seconds(tree)
        publisher.publish(["private.ID1.order"], events, rate)
        latencies = sorted(mine.recv()[events // WARM_UP :])
        cpu = processes.cpu_seconds(tree) - cpu
        consumer.join(60)
    finally:
        consumer.kill()
        publisher.close()
    lowest, p50, p99 = (latencies[int((len(latencies) - 1) * part)] for part in (0.0, 0.5, 0.99))
    return f"{way!s:40} lowest {lowest:5}  p50 {p50:5}  p99 {p99:6}  CPU of RabbitMQ {cpu / events * 1e6:4.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.broker", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=int, default=2000, help="events per second")
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch() as folder:
        broker = RabbitMQ(folder / "broker")
        try:
            for _ in range(options.rounds):
                for way in WAYS:
                    print(measure(broker, way, options.events, options.rate), flush=True)
        finally:
            broker.close()


if __name__ == "__main__":
    main()
