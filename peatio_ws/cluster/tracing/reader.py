"""An operator's side of a trace: repeats the command to all workers, and reads what they report.

How a trace works is in `messages.py`. Used by the command line and by the operator's HTTP interface.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import redis

from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Answer, TraceCommand, WorkerId
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, trace_channel
from peatio_ws.cluster.redis_pool import Pool
from peatio_ws.cluster.tracing import messages
from peatio_ws.cluster.tracing.messages import (
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    TraceMessage,
    read_message,
)

ALIVE_SECONDS: Final = 5.0
"""The longest time without a line."""
LOST_SECONDS: Final = 5 * HEARTBEAT_SECONDS
"""A worker that is silent for this long is reported."""
AWAY_SECONDS: Final = LEASE_SECONDS
"""A trace without Redis ends after this time: the workers have ended it, too."""
RETRY_SECONDS: Final = 0.5
LAST_SECONDS: Final = 1.0
"""How long to wait for the workers' last lines."""


@dataclass
class _Worker:
    """What came from a worker.

    Attributes:
        run: see `TraceMessage`.
        next: number of the next line.
        heard: monotonic time of the last message.
        last: whether it has ended the trace.
    """

    heard: float
    run: str = ""
    next: int = 0
    last: bool = False


class TraceReader:
    """A trace, until `close`. From here on no message of a worker is missed.

    Args:
        client: no other greenlet or thread uses it meanwhile.
        command: the caller sends it, then calls `begin`.
        seconds: how long the trace takes.

    Attributes:
        shown, omitted: number of lines that were read, and that are missing.

    Raises:
        redis.RedisError, OSError: Redis is unreachable.
    """

    def __init__(self, client: redis.Redis, command: TraceCommand, seconds: float) -> None:
        self._redis, self._command, self._seconds = client, command, seconds
        self._channel = trace_channel(command.question)
        self._until = time.monotonic() + seconds
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._listener: Any = None
        self._away = 0.0  # monotonic time since when Redis is unreachable; 0 while it is not
        self.shown = self.omitted = 0
        self._workers: dict[WorkerId, _Worker] = {}
        self._first: dict[str, Any] = {}
        self._subscribe()

    def begin(self, answers: Sequence[Answer], silent: int) -> None:
        """The command was sent.

        Args:
            answers: of the workers that trace.
            silent: how many did not answer. They may follow.
        """
        now, command = time.monotonic(), self._command
        self._workers = {answer.place: _Worker(now) for answer in answers}
        gateways = len({place.gateway for place in self._workers})
        self._first = messages.line(
            "begin",
            time.time(),
            target=msgspec.to_builtins(command.target),
            seconds=self._seconds,
            bodies=command.bodies,
            received_by={"workers": len(self._workers), "gateways": gateways, "silent": silent},
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return the lines as they come, until the trace ends. See docs/operator-api.md."""
        yield self._first
        reason, text, quiet_since = "time", f"{self._seconds:g} s have passed", time.monotonic()
        while (now := time.monotonic()) < self._until:
            try:
                if self._listener is None:
                    self._subscribe()
                for line in self._receive(min(RENEW_SECONDS / 3, self._until - now)):
                    quiet_since = now
                    yield line
                self._renew(now)
                self._away = 0.0
            except (redis.RedisError, OSError) as error:
                self._unsubscribe()
                self._away = self._away or now
                if now - self._away > AWAY_SECONDS:
                    reason, text = "redis", f"Redis is unreachable: {error}"
                    break
                time.sleep(RETRY_SECONDS)
            if now - quiet_since >= ALIVE_SECONDS:
                quiet_since = now
                yield messages.line("alive", time.time())
        if reason == "time":
            yield from self._last_lines()
        yield self.end(reason, text)

    def end(self, reason: str, text: str) -> dict[str, Any]:
        """Return the last line."""
        return messages.line("end", time.time(), reason=reason, text=text, lines=self.shown, omitted=self.omitted)

    def close(self) -> None:
        """End the trace on all workers, soon if Redis can be reached. Idempotent."""
        self._until = 0.0
        with contextlib.suppress(redis.RedisError, OSError):
            self._publish(0)
        self._unsubscribe()

    def _publish(self, seconds: float) -> None:
        command = msgspec.structs.replace(self._command, seconds=seconds)
        self._redis.publish(COMMANDS_CHANNEL, commands.encode(command))

    def _subscribe(self) -> None:
        listener: Any = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        listener.subscribe(self._channel)
        listener.get_message(timeout=RENEW_SECONDS)  # the confirmation; nothing is missed after it
        self._listener = listener

    def _unsubscribe(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _renew(self, now: float) -> None:
        """Let the workers go on."""
        if now < self._renew_at:
            return
        self._renew_at = now + RENEW_SECONDS
        pool = cast(Pool, self._redis.connection_pool)
        if pool.has_moved():  # Sentinel names another primary
            pool.drop()
            self._unsubscribe()
            self._subscribe()
        self._publish(min(LEASE_SECONDS, self._until - now + RENEW_SECONDS))

    # ---- what the workers report

    def _receive(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Return the lines of the next message, if one comes in this time, and of workers that are silent."""
        got = self._listener.get_message(timeout=max(seconds, 0.001))
        if got is not None and (message := read_message(got["data"])) is not None:
            yield from self._read(message)
        now = time.monotonic()
        for place, worker in self._workers.items():
            if now - worker.heard > LOST_SECONDS and not worker.last:
                worker.last = True
                yield self._line(place, messages.line("worker", time.time(), status="lost"))

    def _read(self, message: TraceMessage) -> Iterator[dict[str, Any]]:
        place = message.place
        worker = self._workers.get(place)
        if worker is None or (worker.last and not message.last):
            worker = self._workers[place] = _Worker(0.0)
            yield self._line(place, messages.line("worker", time.time(), status="joined"))
        if worker.run != message.run:
            worker.run, worker.next = message.run, 0
        worker.heard, worker.last = time.monotonic(), message.last
        if message.first > worker.next:
            missing = message.first - worker.next
            yield self._line(place, messages.line("omitted", time.time(), lines=missing))
        for raw in message.lines[max(0, worker.next - message.first) :]:
            yield self._line(place, msgspec.json.decode(raw))
        worker.next = max(worker.next, message.first + len(message.lines))

    def _line(self, place: WorkerId, line: dict[str, Any]) -> dict[str, Any]:
        if line["kind"] == "omitted":
            self.omitted += line.get("lines", 0)
        else:
            self.shown += 1
        kind, at = line.pop("kind"), line.pop("at")
        return {"kind": kind, "at": at, "gateway": place.gateway, "worker": place.worker, **line}

    def _last_lines(self) -> Iterator[dict[str, Any]]:
        """Return what the workers report until each has ended the trace."""
        until = time.monotonic() + LAST_SECONDS
        with contextlib.suppress(redis.RedisError, OSError):
            self._publish(0)
            while (
                self._listener is not None
                and (now := time.monotonic()) < until
                and not all(worker.last for worker in self._workers.values())
            ):
                yield from self._receive(until - now)
