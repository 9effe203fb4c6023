"""What `publish` does: which broker is meant, and files of messages that are replayed to it.

Knows how such a file is written; does not know the broker itself (`publisher.py`), nor options, terminals and exit
statuses (`main.py`).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Final, NamedTuple

from peatio_ws import publisher as publishers
from peatio_ws.config.settings import Settings
from peatio_ws.errors import BadDelivery
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.publisher import Publisher

LATE_SECONDS: Final = 1.0
"""What is lost of a pace by more than this is not made up for."""


def broker(environ: Mapping[str, str]) -> Settings:
    """The broker that the environment names; of these settings only `embedded` and what begins with `amqp_` counts.

    Raises:
        ConfigurationError: for the broker's variables.
    """
    given = {name: value for name, value in environ.items() if name.startswith(("AMQP_", "RABBITMQ_"))}
    # The key is one that fits, so that none is asked for.
    return Settings.from_env({**given, "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}, at_start=True)


def check_event(exchange: str, routing_key: str, headers: Mapping[str, object], body: bytes) -> None:
    """ValueError, in words, for a message that the gateway would drop."""
    if exchange == RANGER:
        publishers.check(routing_key, body)
        return
    try:
        read(Delivery(exchange, routing_key, headers, body))
    except BadDelivery as bad:
        raise ValueError(f"the gateway would drop the message: {bad.advice}") from None


# ---- files of messages


class RecordedEvent(NamedTuple):
    """A line of such a file, for `peatio.events.ranger`."""

    routing_key: str
    body: bytes


def messages(lines: Iterable[bytes]) -> Iterator[RecordedEvent]:
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


def _message(key: bytes, body: bytes) -> RecordedEvent:
    message = RecordedEvent(key.decode("ascii", "replace"), body)
    publishers.check(message.routing_key, body)
    return message


def replay(
    publisher: Publisher, source: Iterable[RecordedEvent], rate: float | None, progress: Callable[[int], None]
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
