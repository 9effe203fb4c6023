"""Pushing to members and streams, from any process: through the broker, as Peatio itself does.

For web applications, jobs and scripts; gevent is not needed. Knows the broker, and what the gateway would drop.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import msgspec
from kombu import Connection

from peatio_ws.amqp.connection import connection_errors, describe_error, exchange, open_connection, shown_url
from peatio_ws.config.tls_errors import tls_fault
from peatio_ws.errors import BadDelivery, PublishError
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.protocol.stream_syntax import Kind, kind_of, routing_keys

CONFIRM_SECONDS: Final = 30.0
"""How long the broker may take to confirm."""
MOST_UNCONFIRMED: Final = 1000
LONGEST_ROUTING_KEY: Final = 255
"""Bytes (AMQP 0-9-1 section 4.2.5.3)."""
RETURNED_SECONDS: Final = 2.0
"""How long on a new connection a member's event that no queue took is published again: RabbitMQ may have just started,
and overlooks a stream for a moment then (docs/delivery.md)."""
AGAIN_SECONDS: Final = 0.1


def check(routing_key: str, body: bytes) -> None:
    """ValueError for a message to `peatio.events.ranger` that the gateway would drop."""
    if not routing_key.isascii() or len(routing_key) > LONGEST_ROUTING_KEY:
        raise ValueError(f"the routing key is not ASCII, or longer than {LONGEST_ROUTING_KEY} bytes")
    try:
        read(Delivery(RANGER, routing_key, {}, body))
    except BadDelivery as bad:
        raise ValueError(f"the gateway would drop the message {routing_key!r}: {bad.advice}") from None


class Publisher:
    """A connection to a broker, opened when it is first used and again when it was lost.

    `to_member` and `to_stream` return when the broker has confirmed, and may be called by many threads or greenlets at
    once. `publish` waits for nothing, and `confirm`, or the end of a `with` block, for all of it.

    Args:
        url: the broker; several with `;` between them are tried in turn. `amqps://host/vhost?cacertfile=/path/ca.pem`
            for TLS (docs/settings.md).
        durable: whether Peatio's exchanges are declared durable (`AMQP_EXCHANGES_DURABLE`).
        timeout: seconds in which the broker has to confirm.

    Attributes:
        sent: messages so far, on this connection.
    """

    def __init__(self, url: str, durable: bool = False, timeout: float = CONFIRM_SECONDS) -> None:
        self._urls = [part.strip() for part in url.split(";") if part.strip()]
        self._durable, self._timeout = durable, timeout
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._targets: dict[str, Any] = {}
        self._waiting: set[int] = set()
        self._refused = self._returned = 0
        self._confirms = False
        self._opened = 0.0
        self.sent = 0

    # ---- for people

    def to_member(self, uid: str, event: str, body: object) -> bool:
        """Push a private event to all connections of a member, wherever they are; it is in their history too.

        Args:
            uid: Barong's uid of the member.
            event: `order`, `trade` (then the body has Peatio's fields) or a name of your own; without a dot.
            body: bytes as they are, which have to be JSON, anything else encoded as JSON.

        Returns:
            Whether a queue took it. False where no gateway hears the broker nor ever did (or `AMQP_HISTORY=off` and the
            member is not connected).

        Raises:
            ValueError: the gateway would drop it.
            PublishError: the broker did not take it, or did not say so in time.
        """
        if kind_of(event) is not Kind.PRIVATE:
            raise ValueError(f"{event!r} is no name of a member's event: letters and digits, no dot")
        return self._push(f"private.{uid}.{event}", _encoded(body), again=True)

    def to_stream(self, stream: str, body: object) -> bool:
        """Push an event to all who are subscribed to a public or prefixed stream.

        Args:
            stream: as clients subscribe to it: `btcusd.trades`, `global.tickers`, `admin.eurusd.sys`.
            body: as of `to_member`; so are what it returns and raises.
        """
        if kind_of(stream) not in (Kind.PUBLIC, Kind.PREFIXED) or stream.startswith("private."):
            raise ValueError(f"{stream!r} is no public or prefixed stream (one dot or two); to_member is for members")
        return self._push(routing_keys(stream)[-1], _encoded(body), again=False)

    def close(self) -> None:
        """Leave the broker; the next use comes back. Harmless a second time.

        In an orderly way: RabbitMQ drops what it has not read yet of a publisher that just goes.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            of_broker = isinstance(error, OSError)  # a certificate that is refused is a ValueError, too
            if error is None or (isinstance(error, ValueError | KeyboardInterrupt) and not of_broker):
                self.confirm()
        finally:
            self.close()

    # ---- many at once

    @property
    def confirmed(self) -> int:
        """How many messages are at the broker for certain."""
        return self.sent - len(self._waiting) - self._refused

    def publish(self, name: str, routing_key: str, headers: Mapping[str, Any], body: bytes) -> None:
        """Send a message to one of Peatio's exchanges; waits only while too many are not confirmed. Not for several
        threads at once.

        Raises:
            Exception: whatever py-amqp has for a broker that is away, refuses or falls silent.
        """
        if self._connection is None:
            self._open()
        assert self._connection is not None
        if name not in self._targets:
            self._targets[name] = exchange(name, self._durable, not self._confirms).bind(self._channel)
            self._targets[name].declare()
        self._producer.publish(
            body,
            exchange=self._targets[name],
            routing_key=routing_key,
            headers=dict(headers),
            content_type="application/octet-stream",
            content_encoding="binary",
            delivery_mode=2,
            mandatory=True,
        )
        self.sent += 1
        if self._confirms:
            self._waiting.add(self.sent)  # py-amqp and RabbitMQ count them alike, from 1
        if len(self._waiting) >= MOST_UNCONFIRMED:
            self.confirm(MOST_UNCONFIRMED // 2)

    def confirm(self, most: int = 0) -> None:
        """Wait until the broker has confirmed all but `most`. ConnectionError if it refused one, TimeoutError."""
        while len(self._waiting) > most:
            assert self._connection is not None
            try:
                self._connection.drain_events(timeout=self._timeout)
            except TimeoutError as error:
                if error.errno is not None:
                    raise  # the system's: the connection is lost
                raise TimeoutError(f"{len(self._waiting)} not confirmed within {self._timeout:g} s") from None
        if self._refused:
            raise ConnectionError(f"it refused {self._refused} of {self.sent}")

    # ---- the connection

    def _push(self, routing_key: str, body: bytes, again: bool) -> bool:
        """Publish one message, and wait until it is confirmed; on a new connection `again` while no queue takes it."""
        check(routing_key, body)
        while True:
            if not self._lock.acquire(timeout=self._timeout):
                text = f"others have waited for {self._place()} for {self._timeout:g} s: is it frozen or full?"
                raise PublishError(text)
            try:
                taken = self._push_once(routing_key, body)
            finally:
                self._lock.release()
            if taken or not again or time.monotonic() - self._opened > RETURNED_SECONDS:
                return taken
            time.sleep(AGAIN_SECONDS)

    def _push_once(self, routing_key: str, body: bytes) -> bool:
        """Over the connection there is, and if that turns out to be lost, over a new one."""
        while True:
            was_open = self._connection is not None
            try:
                returned = self._returned
                self.publish(RANGER, routing_key, {}, body)
                self.confirm()
                return self._returned == returned
            except connection_errors(self._urls[0]) as error:
                self._drop()
                unconfirmed = isinstance(error, TimeoutError) and error.errno is None  # the system's own is a loss
                if not was_open or unconfirmed:
                    raise PublishError(self.explain(error)) from error
            except BaseException:
                self._drop()  # half a frame may have been written
                raise

    def _open(self) -> None:
        """To the first broker that answers. The last one's error if none does."""
        for number, url in enumerate(self._urls, 1):
            connection = open_connection(url, buffered=False)
            # None could be sent while nothing is published; a dead broker is noticed by what it is sent.
            connection.heartbeat = 0
            try:
                connection.connect()
                self._prepare(connection)
            except Exception:
                connection.collect()
                if number == len(self._urls):
                    raise
            else:
                return

    def _prepare(self, connection: Connection) -> None:
        self._channel = connection.default_channel
        self._confirms = connection.transport.driver_type != "memory"  # the in-process broker takes all at once
        if self._confirms:
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)
            self._channel.events["basic_return"].add(self._on_return)
        self._producer = connection.Producer(self._channel)
        self._targets.clear()
        self._waiting.clear()
        self.sent = self._refused = self._returned = 0
        self._connection, self._opened = connection, time.monotonic()

    def _drop(self) -> None:
        """Forget a connection that is good for nothing any more, without a word that could be waited for."""
        connection, self._connection = self._connection, None
        self._waiting.clear()
        if connection is not None:
            connection.collect()

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._waiting -= {number for number in self._waiting if number <= tag} if multiple else {tag}

    def _on_nack(self, tag: int, multiple: bool) -> None:
        before = len(self._waiting)
        self._on_ack(tag, multiple)
        self._refused += before - len(self._waiting)

    def _on_return(self, *_: object) -> None:
        self._returned += 1

    def _place(self) -> str:
        return " or ".join(shown_url(url) for url in self._urls)

    def explain(self, error: BaseException) -> str:
        """What is wrong and what to do, for an error of `publish` or `confirm`."""
        text = f"the broker at {self._place()} did not take it: {describe_error(error)}"
        if tls_fault(error) is not None:
            return text  # which says what to do
        code: Any = getattr(error, "reply_code", None)
        return f"{text}; {_ADVICE.get(code, 'is it up, and the URL right? `python -m peatio_ws check` tries it')}"


_ADVICE: Final = {
    403: "the URL's user or password is wrong, or the user may not write to Peatio's exchanges",
    406: "Peatio declares its exchanges durable, or does not: AMQP_EXCHANGES_DURABLE (durable=True in Python) says it",
    530: "the URL names a virtual host that is not there",
}
"""What to do, by the reply code of RabbitMQ (AMQP 0-9-1 section 1.2)."""


def _encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
