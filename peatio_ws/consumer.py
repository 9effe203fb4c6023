"""The kombu loop: a queue of this worker's own, read in batches, for as long as the worker lives.

A worker has two of them, on connections of their own, so that private events never wait behind public ones.

Does not know the router: it is given a function for each delivery and one for the end of each batch.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

import gevent
import structlog
from kombu import Connection, Queue

from peatio_ws.amqp_transport import consume
from peatio_ws.broker import CONNECT_TIMEOUT, HEARTBEAT, exchange, faults_of, open_connection, place, say
from peatio_ws.demand import Demand
from peatio_ws.events import ORDERBOOK, RANGER, TRADE, Delivery

log = structlog.get_logger("peatio_ws.consumer")

GATHER_SECONDS: Final = 0.0005
"""How long deliveries that come close together are waited for. It comes to 1.1 ms: epoll takes whole milliseconds."""
BUSY_SECONDS: Final = 0.008
"""How long the loop may go on without letting other greenlets run."""
LONGEST_PAUSE: Final = 5.0

Bindings = Sequence[tuple[str, str]]
"""Exchange and routing key of all that a queue is to get."""
CLASSIC: Final[Bindings] = ((ORDERBOOK, ""), (TRADE, ""))
PRIVATE: Final[Bindings] = (*CLASSIC, (RANGER, "private.#"))


def public(prefixes: Iterable[str], books: Sequence[str] = ()) -> Bindings:
    """What brings public streams, and those with these prefixes.

    Args:
        books: names whose `-snap` and `-inc` alone are to come; all streams without any.
    """
    if not books:
        return [(RANGER, f"{word}.#") for word in ("public", "global", *prefixes)]
    names = [f"{book}-{half}" for book in books for half in ("snap", "inc")]
    places = ["global", "public.*", *(f"{prefix}.*" for prefix in prefixes)]
    return [(RANGER, f"{place}.{name}") for place in places for name in names]


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt: growing, and jittered so that workers do not come in step."""
    for attempt in itertools.count():
        yield random.uniform(0.5, 1) * min(LONGEST_PAUSE, 0.5 * 2 ** min(attempt, 10))


class _Pace:
    """When the loop lets others run, and when it waits for more to come, to deliver it together.

    A delivery that is waited for costs several times one that is there already (epoll, two switches of greenlets, cold
    caches). Once they come closer together than `GATHER_SECONDS`, that time is given them to gather: at 2,000 a second
    it saves a third of the CPU for each and costs 0.7 ms on average. One that comes alone goes out at once.
    """

    def __init__(self) -> None:
        self._ready = self._yielded = time.monotonic()  # for the next batch; for other greenlets, the last time

    def rest(self, connection: Any) -> None:
        """After each batch. `connection` tells how it came, if it is an `BufferedConnection`."""
        transport = getattr(connection, "transport", None)
        waited_until: float = getattr(transport, "rested", 0.0)
        if getattr(transport, "drained", False) and waited_until - self._ready < GATHER_SECONDS:
            gevent.sleep(GATHER_SECONDS)
            self._ready = self._yielded = time.monotonic()
            return
        self._ready = time.monotonic()
        if self._ready - max(self._yielded, waited_until) > BUSY_SECONDS:
            gevent.sleep(1e-6)  # sleep(0) would hardly let I/O run
            self._ready = self._yielded = time.monotonic()


class Source(Protocol):
    """What a consumer reads: which queue, and how.

    Attributes:
        name: of the events, for people.
    """

    name: str

    def open(self, connection: Connection, heard: Callable[[], None]) -> None:
        """Declare and consume on a new connection.

        Args:
            heard: to be called once everything published from then on will come.

        Raises:
            ConnectionError, and what kombu and py-amqp raise.
        """

    def rest(self) -> None:
        """After each batch."""

    def check(self) -> None:
        """Now and then, from another greenlet. ConnectionError breaks off the connection."""

    def has_read_up_to(self, moment: float) -> bool:
        """Whether all that was to be had at this monotonic time has come. Finds that out if it is not known, and never
        waits."""


class OwnQueue:
    """A queue that lives as long as its connection.

    Args:
        name: of the events.
        durable: whether the publishers declare the exchanges durable.
        bindings: what is read in any case.
        handle: called with each delivery; may raise nothing.
        demand: what is read of `peatio.events.ranger` while it is needed; None if `bindings` have everything.
    """

    def __init__(
        self,
        name: str,
        durable: bool,
        bindings: Bindings,
        handle: Callable[[Delivery], None],
        demand: Demand | None = None,
    ) -> None:
        self.name = name
        self._durable, self._bindings, self._handle, self._demand = durable, bindings, handle, demand

    def open(self, connection: Connection, heard: Callable[[], None]) -> None:
        # A new name each time: a broker that has not noticed yet how the last connection broke keeps that queue locked.
        name = f"peatio_ws.{self.name}.{socket.gethostname()}.{uuid.uuid4().hex[:12]}"
        exclusive = connection.transport.driver_type != "memory"
        queue = Queue(name, exclusive=exclusive, auto_delete=True, durable=False, channel=connection)
        declare(connection, queue, self._bindings, self._durable)
        if self._demand is not None:
            self._demand.attach(connection.default_channel, name)
        consume(connection.default_channel, name, self._handle)
        heard()

    def rest(self) -> None:
        pass

    def check(self) -> None:
        pass

    def has_read_up_to(self, moment: float) -> bool:  # noqa: ARG002  # nobody else reads it, or is ahead
        return True


def declare(connection: Connection, queue: Queue, bindings: Bindings, durable: bool) -> None:
    """A queue, Peatio's exchanges, and what is between them."""
    channel = connection.default_channel
    embedded = connection.transport.driver_type == "memory"
    for name, _ in bindings:
        exchange(name, durable, embedded).bind(channel).declare()
    queue = queue.bind(channel)
    queue.queue_declare()
    for name, routing_key in bindings:
        queue.bind_to(exchange(name, durable, embedded), routing_key=routing_key)


class Consumer:
    """Hears a source for as long as the worker lives.

    Args:
        source: see `Source`.
        urls: brokers, tried in turn.
        flush: called at the end of each batch.
        heard: called with True once the source is heard, with False when the broker is lost.
    """

    def __init__(
        self, source: Source, urls: tuple[str, ...], flush: Callable[[], None], heard: Callable[[bool], None]
    ) -> None:
        self._source, self._urls, self._flush, self._heard = source, urls, flush, heard
        self._stopped = False
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether the source is open, though not all of it may have come yet."""
        return self._connected

    def stop(self) -> None:
        """Make `run` say good-bye to the broker as it returns: within a second, or when its greenlet is killed."""
        self._stopped = True

    def run(self) -> None:
        """Read until `stop`; a broker that is lost, or refuses, is tried again with growing pauses, and said once."""
        urls, waits, lost_at = itertools.cycle(self._urls), pauses(), 0.0
        while not self._stopped:
            url = next(urls)
            try:
                self._read(url)
            except faults_of(url) as error:
                if self._connected or not lost_at:
                    waits, lost_at = pauses(), time.monotonic()
                    log.warning(
                        "broker is not heard; trying on",
                        events=self._source.name,
                        broker=place(url),
                        error=say(error),
                    )
                else:
                    log.debug("broker is still not heard", broker=place(url), error=say(error))
                if self._connected:
                    self._connected = False
                    self._heard(False)
                gevent.sleep(next(waits))

    def _read(self, url: str) -> None:
        """One connection, from its opening to its end."""
        connection = open_connection(url)
        try:
            with gevent.Timeout(CONNECT_TIMEOUT, TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s")):
                connection.connect()
                connection.default_channel.auto_decode = False
                self._source.open(connection, functools.partial(self._heard, True))
            log.info("hearing the broker", events=self._source.name, broker=place(url))
            self._connected = True
            self._drain(connection)
        finally:
            if self._stopped:
                with contextlib.suppress(Exception), gevent.Timeout(1, TimeoutError):
                    connection.close()
            # Else not close(): that waits for a broker which may be frozen.
            connection.collect()

    def _drain(self, connection: Connection) -> None:
        """Deliver what comes, batch by batch, until the connection breaks."""
        heart = gevent.spawn(self._beat, connection, gevent.getcurrent())
        try:
            pace = _Pace()
            self._flush()  # what came along with the broker's answer to the last question
            while True:
                connection.drain_events()
                self._flush()
                self._source.rest()
                pace.rest(connection.connection)
        finally:
            heart.kill()

    def _beat(self, connection: Connection, reader: Any) -> None:
        """Send heartbeats, and break off a connection that brings none. By the clock: a loop that looks for them only
        when it is idle is cut off by RabbitMQ under steady traffic."""
        while connection.heartbeat:
            gevent.sleep(HEARTBEAT / 4)
            try:
                connection.heartbeat_check()
                self._source.check()
            except Exception as error:  # whatever it is: without heartbeats the connection is as good as lost
                gevent.kill(reader, ConnectionError(say(error)))
                return
