"""Tries operations on a broker: each has a name, a channel and a time limit, and leaves the broker's reply code.

Does not know which operations a gateway needs (`broker_check.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from amqp.exceptions import AMQPError, MessageNacked

from peatio_ws.cli.check.broker_remedies import Operation, Refusal

STEP_SECONDS: Final = 4.0
"""Time limit of one operation."""


class Probe:
    """A connection over which operations are tried, each with a time limit. It reconnects after a loss.

    Args:
        establish: opens a connection of py-amqp.

    Attributes:
        connection: the connection.
        operation: the current operation, or the last one.
        blocked: whether the broker accepts no messages (RabbitMQ, "Alarms").
    """

    def __init__(self, establish: Callable[[], Any]) -> None:
        self._establish = establish
        self._until = 0.0
        self.connection: Any = None
        self.operation, self.blocked = Operation.LOOK, False

    def connect(self) -> None:
        """Open a connection. Raises the exceptions of kombu and py-amqp."""
        self.connection = self._establish()
        drain = self.connection.drain_events

        def drain_in_time(timeout: float | None = None) -> None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            drain(timeout=min(left, left if timeout is None else timeout))

        self.connection.drain_events = drain_in_time
        self.connection.on_blocked = self._on_blocked

    def attempt(self, operation: Operation, action: Callable[[Any], object]) -> Refusal | None:
        """Run an action on a new channel. Return why the broker refused it, or None if it did not.

        Args:
            operation: what the action does. The action may name its further steps in `operation`.

        Raises:
            OSError: the connection cannot be opened again.
        """
        self._until = time.monotonic() + STEP_SECONDS
        if not self.connection.connected:
            self.connect()
        self.operation = operation
        try:
            channel = self.connection.channel()
            channel.auto_decode = False
            action(channel)
            channel.close()
        except TimeoutError:
            self._hang_up()  # so that a late answer is not mistaken for the answer to the next operation
            return Refusal(self.operation, None, f"no answer within {STEP_SECONDS:g} s")
        except MessageNacked:
            return Refusal(self.operation, None, "the broker did not accept a message")
        except AMQPError as error:
            if not error.reply_code:
                raise
            return Refusal(self.operation, int(error.reply_code), str(error))
        return None

    def read_until(self, done: Callable[[], object]) -> None:
        """Read from the connection until `done` returns true. Raises TimeoutError, and the exceptions of py-amqp."""
        while not done():
            self.connection.drain_events()

    def close(self) -> None:
        """Close the connection properly, unless the broker does not answer."""
        if self.connection is not None:
            self._until = time.monotonic() + 1
            with contextlib.suppress(Exception):
                self.connection.close()
            self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(Exception):
            self.connection.collect()

    def _on_blocked(self, _reason: object) -> None:
        self.blocked = True
