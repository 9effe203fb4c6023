"""The broker's side of `publish`: messages that are published as Peatio does it, and files of them that are replayed.

Knows the broker and how such a file is written; does not know options, terminals or exit statuses (`cli.py`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple

from peatio_ws.consumer import exchange, open_connection
from peatio_ws.errors import BadDelivery
from peatio_ws.events import RANGER, Delivery, read
from peatio_ws.settings import Settings

CONFIRM_SECONDS: Final = 30.0
"""How long the broker may take to confirm."""
MOST_UNCONFIRMED: Final = 1000
LONGEST_ROUTING_KEY: Final = 255
"""Bytes (AMQP 0-9-1 section 4.2.5.3)."""
LATE_SECONDS: Final = 1.0
"""What is lost of a pace by more than this is not made up for."""


def broker(environ: Mapping[str, str]) -> Settings:
    """The broker that the environment names; of these settings only `embedded` and what begins with `amqp_` counts.

    Raises:
        ConfigurationError: for the broker's variables.
    """
    given = {name: value for name, value in environ.items() if name.startswith(("AMQP_", "RABBITMQ_"))}
    # The key is one that fits, so that none is asked for.
    return Settings.from_env({**given, "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32})


class Publisher:
    """A connection to a broker, on which every message is confirmed before the `with` block is left.

    It is closed in an orderly way even then: RabbitMQ drops what it has not read yet of a publisher that just goes.

    Attributes:
        sent: messages so far.

    Raises:
        Exception: whatever py-amqp has for a broker that is away, refuses or falls silent.
    """

    def __init__(self, url: str, durable: bool) -> None:
        self._connection, self._durable = open_connection(url), durable
        # None could be sent while a line of standard input is waited for; a dead broker is noticed by what it is sent.
        self._connection.heartbeat = 0
        self._targets: dict[str, Any] = {}
        self._waiting: set[int] = set()
        self._refused = 0
        self.sent = 0

    def __enter__(self) -> Publisher:
        self._channel = self._connection.default_channel
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._producer = self._connection.Producer(self._channel)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is None or isinstance(error, ValueError | KeyboardInterrupt):  # not the broker's
                self.confirm()
        finally:
            with contextlib.suppress(Exception):
                self._connection.close()

    @property
    def confirmed(self) -> int:
        """How many messages are at the broker for certain."""
        return self.sent - len(self._waiting) - self._refused

    def publish(self, name: str, routing_key: str, headers: Mapping[str, Any], body: bytes) -> None:
        """Send a message to one of Peatio's exchanges; waits only while too many are not confirmed."""
        if name not in self._targets:
            self._targets[name] = exchange(name, self._durable).bind(self._channel)
            self._targets[name].declare()
        self._producer.publish(
            body,
            exchange=self._targets[name],
            routing_key=routing_key,
            headers=dict(headers),
            content_type="application/octet-stream",
            content_encoding="binary",
            delivery_mode=2 if self._durable else 1,
        )
        self.sent += 1
        self._waiting.add(self.sent)  # py-amqp and RabbitMQ count them alike, from 1
        if len(self._waiting) >= MOST_UNCONFIRMED:
            self.confirm(MOST_UNCONFIRMED // 2)

    def confirm(self, most: int = 0) -> None:
        """Wait until the broker has confirmed all but `most`. ConnectionError if it refused one, TimeoutError."""
        while len(self._waiting) > most:
            try:
                self._connection.drain_events(timeout=CONFIRM_SECONDS)
            except TimeoutError:
                raise TimeoutError(f"{len(self._waiting)} not confirmed within {CONFIRM_SECONDS:g} s") from None
        if self._refused:
            raise ConnectionError(f"it refused {self._refused} of {self.sent}")

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._waiting -= {number for number in self._waiting if number <= tag} if multiple else {tag}

    def _on_nack(self, tag: int, multiple: bool) -> None:
        before = len(self._waiting)
        self._on_ack(tag, multiple)
        self._refused += before - len(self._waiting)


# ---- files of messages


class Message(NamedTuple):
    """A line of such a file, for `peatio.events.ranger`."""

    routing_key: str
    body: bytes


_FAULTS: Final = {
    "json": "the body is no JSON",
    "routing_key": "{key!r} is no routing key: private.UID.EVENT, public.MARKET.EVENT, global.EVENT, PREFIX.ID.EVENT",
}


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    """What lines of a routing key, white space and a JSON body say; blank ones and those that begin with # are nothing.

    Raises:
        ValueError: a line that the gateway would drop; with its number.
    """
    for number, line in enumerate(lines, 1):
        key, *rest = line.rstrip(b"\r\n").split(None, 1) or [b"#"]
        if key.startswith(b"#"):
            continue
        if not rest:
            raise ValueError(f"line {number}: there is no body after the routing key")
        try:
            yield _message(key, rest[0])
        except ValueError as fault:
            raise ValueError(f"line {number}: {fault}") from None


def _message(key: bytes, body: bytes) -> Message:
    if not key.isascii() or len(key) > LONGEST_ROUTING_KEY:
        raise ValueError(f"the routing key is not ASCII, or longer than {LONGEST_ROUTING_KEY} bytes")
    message = Message(key.decode(), body)
    try:
        read(Delivery(RANGER, message.routing_key, {}, body))
    except BadDelivery as fault:
        text = _FAULTS.get(fault.reason, "the gateway would drop it: {reason}")
        raise ValueError(text.format(key=message.routing_key, reason=fault.reason)) from None
    return message


def replay(
    publisher: Publisher, source: Iterable[Message], rate: float | None, progress: Callable[[int], None]
) -> None:
    """Publish all, `rate` of them a second or as fast as it goes. `progress` is told how many went out so far.

    Raises:
        KeyboardInterrupt: after Ctrl-C, between two messages.
    """
    due = time.monotonic()
    with _Interruption() as interruption:
        for message in source:
            if rate:
                due = max(due + 1 / rate, time.monotonic() - LATE_SECONDS)
                if (early := due - time.monotonic()) > 0:
                    time.sleep(early)
            with interruption.later():
                publisher.publish(RANGER, message.routing_key, {}, message.body)
            progress(publisher.sent)


class _Interruption:
    """Ctrl-C at a bearable moment: half a frame would cost all that the broker has not read yet. At once the second
    time."""

    def __enter__(self) -> _Interruption:
        self._busy = self._wanted = False
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._wanted:
            raise KeyboardInterrupt

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._busy or self._wanted:
            raise KeyboardInterrupt
        self._wanted = True
