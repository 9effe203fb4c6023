"""One operator's trace in one worker: a bounded queue of lines, and the greenlet that publishes them.

Adding a line never waits. What does not fit is counted, and the trace says so. Knows no connection.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import gevent
import msgspec

from peatio_ws.cluster.commands import TraceCommand, WorkerId
from peatio_ws.cluster.redis_keys import trace_channel
from peatio_ws.cluster.tracing import messages
from peatio_ws.cluster.tracing.messages import HEARTBEAT_SECONDS, TraceMessage

MOST_LINES: Final = 2_000
MOST_BYTES: Final = 1_048_576
"""Limits of the queue. Once it is full, it accepts lines again when half of it is published."""
LINE_BYTES: Final = 300
"""About the size of a line without a body."""
LINES_AT_ONCE: Final = 200
BYTES_AT_ONCE: Final = 262_144
"""The most that one message contains, except that it contains at least one line."""
PAUSE_SECONDS: Final = 0.05
"""Between two messages: with `LINES_AT_ONCE` this limits the work for a trace, too."""
RETRY_SECONDS: Final = 0.5
"""Until the next attempt if Redis is unreachable, or if nobody received the message."""
LAST_SECONDS: Final = 1.0
"""How long a worker that exits tries to publish the last lines."""

Publish = Callable[[str, bytes], int | None]
"""Publishes a message on a channel; returns how many received it, None if Redis is unreachable."""


class Trace:
    """A trace, from an operator's first command to the end.

    Args:
        worker: where this worker is.
        publish: may wait.
        look: called before each message, so that it can add lines; not in the path of events.

    Attributes:
        full: whether lines are only counted for now.
        connections: how many connections it shows.
        omitted: how many lines it has left out, as far as it has said so.
    """

    def __init__(self, command: TraceCommand, worker: WorkerId, publish: Publish, look: Callable[[], object]) -> None:
        self.target, self.bodies = command.target, command.bodies
        self._worker, self._publish, self._look = worker, publish, look
        self._channel, self._run_id = trace_channel(command.question), secrets.token_hex(4)
        self._lines: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = self._number = 0
        self._left_out = Counter[str]()  # lines and connections, since the last line that said so
        self._batch: list[msgspec.Raw] = []  # being published; kept until somebody has received it
        self._heard = 0.0  # monotonic time of the last message that was received
        self.full = False
        self.connections = self.omitted = 0
        self._until = 0.0
        self.renew(command.seconds)

    def renew(self, seconds: float) -> None:
        """Go on for this long; 0 ends the trace soon."""
        self._until = time.monotonic() + seconds

    def add(self, line: dict[str, Any], size: int = LINE_BYTES) -> None:
        """Add a line, or count it. Never waits.

        Args:
            size: about how many bytes it has.
        """
        if self.full:
            self.omit(1)
            return
        if self._left_out:
            self._say_left_out()
        self._lines.append((line, size))
        self._bytes += size
        self.full = len(self._lines) >= MOST_LINES or self._bytes >= MOST_BYTES

    def omit(self, lines: int = 0, connections: int = 0) -> None:
        """Count lines that are left out, or connections that are not shown."""
        for what, number in (("lines", lines), ("connections", connections)):
            if number:
                self._left_out[what] += number

    def run(self) -> None:
        """Publish lines until the trace ends. Never raises."""
        while time.monotonic() < self._until:
            self._look()
            gevent.sleep(PAUSE_SECONDS if self._send() else RETRY_SECONDS)

    def close(self, seconds: float = LAST_SECONDS) -> None:
        """Publish what is left, for this long at most."""
        until = time.monotonic() + seconds
        while (self._lines or self._batch or self._left_out) and self._send() and time.monotonic() < until:
            pass
        self._send(last=True)

    def _say_left_out(self) -> None:
        self._lines.append((messages.line("omitted", time.time(), **self._left_out), LINE_BYTES))
        self._bytes += LINE_BYTES
        self.omitted += self._left_out["lines"]
        self._left_out.clear()

    def _send(self, last: bool = False) -> bool:
        """Publish some lines. Return False if nobody received them."""
        if not self._batch:
            self._take()
        if not (self._batch or last or time.monotonic() - self._heard >= HEARTBEAT_SECONDS):
            return True
        message = TraceMessage(self._worker, self._run_id, self._number, self._batch, last)
        if not self._publish(self._channel, msgspec.json.encode(message)):
            return False
        self._heard = time.monotonic()
        self._number += len(self._batch)
        self._batch = []
        return True

    def _take(self) -> None:
        """Move lines from the queue to the batch."""
        if self._left_out and not self.full:
            self._say_left_out()
        taken = 0
        while self._lines and len(self._batch) < LINES_AT_ONCE and (taken < BYTES_AT_ONCE or not self._batch):
            line, size = self._lines.popleft()
            self._bytes -= size
            taken += size
            self._batch.append(msgspec.Raw(msgspec.json.encode(line)))
        self.full = self.full and (len(self._lines) > MOST_LINES // 2 or self._bytes > MOST_BYTES // 2)
