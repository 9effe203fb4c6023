"""The work of `publish`: which broker to use, and how a file of messages is replayed to it.

Knows the format of such a file. Does not know the broker itself (`publisher.py`), nor options, terminals and exit
statuses (`publish.py`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Final, NamedTuple

from peatio_ws.config.settings import Settings
from peatio_ws.errors import BadDelivery
from peatio_ws.protocol.deliveries import check_ranger_event, read
from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.publisher import Publisher

LATE_SECONDS: Final = 1.0
"""A replay that falls behind its pace by more than this does not catch up."""


def broker(environ: Mapping[str, str]) -> Settings:
    """Return the settings of the broker that the environment names. Only `embedded` and the `amqp_` fields are valid.

    Raises:
        ConfigurationError: for the broker's variables.
    """
    given = {name: value for name, value in environ.items() if name.startswith(("AMQP_", "RABBITMQ_"))}
    # A placeholder key that fits, so that the settings do not require one.
    return Settings.from_env({**given, "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}, at_start=True)


def check_event(exchange: str, routing_key: str, headers: Mapping[str, object], body: bytes) -> None:
    """Raise ValueError with a readable text for a message that the gateway would drop."""
    if exchange == RANGER:
        check_ranger_event(routing_key, body)
        return
    try:
        read(Delivery(exchange, routing_key, headers, body))
    except BadDelivery as bad:
        raise ValueError(f"the gateway would drop the message: {bad.advice}") from None


# ---- files of messages


class RecordedEvent(NamedTuple):
    """A line of a file of messages, for `peatio.events.ranger`."""

    routing_key: str
    body: bytes


def messages(lines: Iterable[bytes]) -> Iterator[RecordedEvent]:
    """Yield the messages of lines with a routing key, white space and a JSON body. Skip blank lines and comments (#).

    Raises:
        ValueError: the gateway would drop the message of a line. The text contains the line number.
    """
    for number, line in enumerate(lines, 1):
        key, *rest = line.rstrip(b"\r\n").split(None, 1) or [b"#"]
        if key.startswith(b"#"):
            continue
        if not rest:
            raise ValueError(f"line {number}: the body after the routing key is missing")
        try:
            yield _message(key, rest[0])
        except ValueError as fault:
            raise ValueError(f"line {number}: {fault}") from None


def _message(key: bytes, body: bytes) -> RecordedEvent:
    message = RecordedEvent(key.decode("ascii", "replace"), body)
    check_ranger_event(message.routing_key, body)
    return message


def replay(
    publisher: Publisher, source: Iterable[RecordedEvent], rate: float | None, progress: Callable[[int], None]
) -> None:
    """Publish all messages, at `rate` a second or as fast as possible. Call `progress` with the number sent so far.

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
    """Delays Ctrl-C until a message is written: after half a frame, the broker drops all that it has not read yet. The
    second Ctrl-C takes effect at once."""

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
