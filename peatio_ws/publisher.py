"""Publishes events to members and streams from any process, through the broker, as Peatio does.

For web applications, jobs and scripts; does not need gevent. Knows the broker, and which messages the gateway drops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

import msgspec
from kombu import Connection

from peatio_ws.amqp.connection import (
    PUBLISH_ADVICE,
    close,
    connection_errors,
    describe_error,
    exchange,
    limit_waits,
    open_connection,
    shown_url,
)
from peatio_ws.config.tls_errors import tls_fault
from peatio_ws.errors import PublishError
from peatio_ws.monitoring import spans
from peatio_ws.protocol.deliveries import check_ranger_event
from peatio_ws.protocol.exchanges import RANGER
from peatio_ws.protocol.stream_syntax import Kind, kind_of, routing_keys

CONFIRM_SECONDS: Final = 30.0
"""Default time limit for the broker's confirm."""
MOST_UNCONFIRMED: Final = 1000
RETURNED_SECONDS: Final = 2.0
"""How long, on a new connection, a member's event is published again if no queue receives it. RabbitMQ that has just
started does not route to a stream for a moment (docs/delivery.md)."""
AGAIN_SECONDS: Final = 0.1
NO_GATEWAY: Final = (
    "memory:// is a broker inside this process, and no gateway of this process receives from it; to reach a gateway in "
    "another process, run RabbitMQ, and set AMQP_URL to it in both; in a test, push inside `with testing.serve(…)`"
)


class Publisher:
    """A connection to a broker, opened at its first use, and again after it was lost.

    `to_member` and `to_stream` return when the broker has confirmed the event. Threads and greenlets may call them
    concurrently; a forked process opens its own connection. `publish` does not wait for a confirm; `confirm`, or the
    end of a `with` block, waits for all of them.

    Args:
        url: the broker. Several URLs, separated by `;`, are tried in turn. For TLS use
            `amqps://host/vhost?cacertfile=/path/ca.pem` (docs/settings.md).
        durable: whether Peatio's exchanges are declared durable (`AMQP_EXCHANGES_DURABLE`).
        timeout: time limit for a confirm, and for each other answer of the broker, in seconds.

    Attributes:
        sent: number of messages on the current connection.
    """

    def __init__(self, url: str, durable: bool = False, timeout: float = CONFIRM_SECONDS) -> None:
        self._urls = [part.strip() for part in url.split(";") if part.strip()]
        self._durable, self._timeout = durable, timeout
        self._locks: dict[int, threading.Lock] = {}  # by process: a fork copies a lock that another thread holds
        self._connection: Connection | None = None
        self._process = os.getpid()  # which the connection belongs to
        self._targets: dict[str, Any] = {}
        self._waiting: set[int] = set()
        self._refused = self._returned = 0
        self._confirms = False
        self._opened = 0.0
        self.sent = 0

    # ---- single events

    def to_member(self, uid: str, event: str, body: object) -> bool:
        """Publish a private event to all connections of a member. It also enters the member's history.

        Args:
            uid: Barong's uid of the member.
            event: `order`, `trade` (with a body that has Peatio's fields) or your own name, without a dot.
            body: bytes are sent as they are, and have to be JSON. Any other object is encoded as JSON.

        Returns:
            Whether a queue received the event. False if no gateway is or was ever connected to the broker, or if
            `AMQP_HISTORY=off` and the member is not connected.

        Raises:
            ValueError: the gateway would drop the event.
            PublishError: the broker did not accept the event, or did not confirm it in time. Or the URL is `memory://`,
                and no gateway of this process is running.
        """
        if kind_of(event) is not Kind.PRIVATE:
            raise ValueError(f"{event!r} is not a name of a private event; use letters and digits, without a dot")
        return self._push(f"private.{uid}.{event}", _encoded(body), again=True)

    def to_stream(self, stream: str, body: object) -> bool:
        """Publish an event to all subscribers of a public or prefixed stream. Returns and raises as `to_member`.

        Args:
            stream: name that clients subscribe to: `btcusd.trades`, `global.tickers`, `admin.eurusd.sys`.
            body: see `to_member`.
        """
        if kind_of(stream) not in (Kind.PUBLIC, Kind.PREFIXED) or stream.startswith("private."):
            raise ValueError(f"{stream!r} is not a public or prefixed stream (1 or 2 dots); to_member is for members")
        return self._push(routing_keys(stream)[-1], _encoded(body), again=False)

    def close(self) -> None:
        """Close the connection; the next use opens it again. Idempotent.

        The close handshake matters: RabbitMQ drops unread messages of a publisher that only closes the socket.
        """
        self._leave_to_parent()
        connection, self._connection = self._connection, None
        if connection is not None:
            close(connection)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            of_broker = isinstance(error, OSError)  # a refused certificate is a ValueError, too
            if error is None or (isinstance(error, ValueError | KeyboardInterrupt) and not of_broker):
                self.confirm()
        finally:
            self.close()

    # ---- many events

    @property
    def confirmed(self) -> int:
        """Number of messages that the broker has confirmed."""
        return self.sent - len(self._waiting) - self._refused

    def publish(self, name: str, routing_key: str, headers: Mapping[str, Any], body: bytes) -> None:
        """Send a message to one of Peatio's exchanges. Waits only while too many messages are unconfirmed.

        Not thread-safe.

        Raises:
            Exception: any error of py-amqp for a broker that is unreachable, refuses or does not answer.
        """
        self._leave_to_parent()
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
        """Wait until at most `most` messages are unconfirmed. ConnectionError if one was refused; TimeoutError."""
        self._leave_to_parent()
        while len(self._waiting) > most:
            assert self._connection is not None
            try:
                self._connection.drain_events(timeout=self._timeout)
            except TimeoutError as error:
                if error.errno is not None:
                    raise  # the error of the operating system: the connection is lost
                raise TimeoutError(f"{len(self._waiting)} not confirmed within {self._timeout:g} s") from None
        if self._refused:
            raise ConnectionError(f"it refused {self._refused} of {self.sent}")

    # ---- the connection

    def _push(self, routing_key: str, body: bytes, again: bool) -> bool:
        """Publish a message and wait for its confirm; on a new connection, with `again`, until a queue receives it."""
        check_ranger_event(routing_key, body)
        with spans.publishing(RANGER, len(body)) as headers:
            return self._push_until_taken(routing_key, headers, body, again)

    def _push_until_taken(self, routing_key: str, headers: Mapping[str, str], body: bytes, again: bool) -> bool:
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        while True:
            if not lock.acquire(timeout=self._timeout):
                text = f"other calls have waited {self._timeout:g} s for {self._place()}; is the broker frozen or full?"
                raise PublishError(text)
            try:
                taken = self._push_once(routing_key, headers, body)
            finally:
                lock.release()
            if taken or not again or time.monotonic() - self._opened > RETURNED_SECONDS:
                return taken
            time.sleep(AGAIN_SECONDS)

    def _push_once(self, routing_key: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Publish over the open connection; if it turns out to be lost, over a new one."""
        self._leave_to_parent()
        while True:
            was_open = self._connection is not None
            try:
                returned = self._returned
                self.publish(RANGER, routing_key, headers, body)
                self.confirm()
                if not self._confirms and not self._channel.get_table(RANGER):
                    raise PublishError(NO_GATEWAY)
                return self._returned == returned
            except connection_errors(self._urls[0]) as error:
                self._drop()
                unconfirmed = isinstance(error, TimeoutError) and error.errno is None  # errno: a lost connection
                if not was_open or unconfirmed:
                    raise PublishError(self.explain(error)) from error
            except BaseException:
                self._drop()  # a part of a frame may have been written
                raise

    def _leave_to_parent(self) -> None:
        """In a process that was forked, leave the connection to its parent: two processes cannot share one."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._connection = None  # not closed, which would end the parent's
            self._waiting.clear()
            self.sent = self._refused = self._returned = 0

    def _open(self) -> None:
        """Connect to the first broker that answers. Raises the last one's error if none does."""
        for number, url in enumerate(self._urls, 1):
            connection = open_connection(url, buffered=False)
            # Nothing would send heartbeats between two calls. A dead broker is noticed at the next message.
            connection.heartbeat = 0
            try:
                connection.connect()
                limit_waits(connection, self._timeout)
                self._prepare(connection)
            except Exception:
                connection.collect()
                if number == len(self._urls):
                    raise
            else:
                return

    def _prepare(self, connection: Connection) -> None:
        self._channel = connection.default_channel
        self._confirms = connection.transport.driver_type != "memory"  # the in-process broker has no confirms
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
        """Drop a broken connection without sending anything that could block."""
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
        """Return the text and the remedy for an error of `publish` or `confirm`."""
        text = f"the broker at {self._place()} did not accept the message: {describe_error(error)}"
        if tls_fault(error) is not None:
            return text  # it contains the remedy
        code: Any = getattr(error, "reply_code", None)
        return f"{text}; {PUBLISH_ADVICE.get(code, 'is it up, and the URL right? `peatio-ws check` tests it')}"


def _encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
