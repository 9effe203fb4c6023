"""The broker's side of `publish`: messages that are published as Peatio does it, each of them confirmed.

Knows the broker; does not know options, terminals or exit statuses (`cli.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from peatio_ws.consumer import exchange, open_connection
from peatio_ws.settings import Settings

CONFIRM_SECONDS: Final = 30.0
"""How long the broker may take to confirm."""
MOST_UNCONFIRMED: Final = 1000


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
            if error is None:
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
