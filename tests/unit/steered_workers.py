"""A stand-in for Redis with workers that answer an operator's commands at once.

Real workers are tested in `tests/live/test_steering.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import AddressLocked, Answer, Command, WorkerId
from peatio_ws.cluster.redis_keys import CANCELLED_KEY


class SteeredWorkers:
    """Redis and the workers that subscribe to its channel.

    Attributes:
        workers: a function for each worker that returns its answers to a command.
        received: every command that was published.
        revocations: the sorted set.
        cancelled: the sorted set of those that were taken back.
        expired: whether old revocations were removed before they were counted.
        error: raised by every request to Redis.
        reports: what the workers of a trace report, one after the other; errors are raised.
    """

    def __init__(self) -> None:
        self.workers: list[Callable[[Command], list[Answer]]] = []
        self.received: list[Command] = []
        self.revocations: dict[bytes, float] = {}
        self.cancelled: dict[bytes, float] = {}
        self.lists: dict[str, list[bytes]] = {}
        self.expired = self.closed = self._confirming = False
        self.reports: deque[bytes | BaseException] = deque()
        self.error: Exception | None = None
        self._results: list[Any] = []

    def add(self, gateway: str = "host:8080", connections: int = 1, meant: bool = True) -> WorkerId:
        """Connect a worker that answers every command with this many connections."""
        place = WorkerId(gateway.partition(":")[0], gateway, len(self.workers) + 1)
        self.workers.append(lambda _: [Answer(place, connections, meant)])
        return place

    def add_silent(self) -> None:
        """Connect a worker that does not answer."""
        self.workers.append(lambda _: [])

    # ---- the part of redis-py that `Operator` uses

    def close(self) -> None:
        self.closed = True

    def pubsub(self, ignore_subscribe_messages: bool) -> SteeredWorkers:
        assert ignore_subscribe_messages
        self._fail()
        return self

    def subscribe(self, channel: str) -> None:
        self.subscribed = channel
        self._confirming = True

    def get_message(self, timeout: float) -> dict[str, bytes] | None:
        if self._confirming:
            self._confirming = False
            return None  # the confirmation of the subscription
        if not self.reports:
            time.sleep(timeout)
            return None
        report = self.reports.popleft()
        if isinstance(report, BaseException):
            raise report
        return {"data": report}

    @property
    def connection_pool(self) -> SteeredWorkers:
        return self

    def has_moved(self) -> bool:
        return False

    def zremrangebyscore(self, key: str, _least: float, most: float) -> None:
        self.expired = abs(most - time.time()) < 3600
        rows = self._rows(key)
        for row in [row for row, until in rows.items() if until <= most]:
            del rows[row]

    def zrevrange(self, key: str, first: int, last: int) -> list[bytes]:
        self._fail()
        return sorted(self._rows(key), key=self._rows(key).__getitem__, reverse=True)[first : last + 1]

    def zrem(self, key: str, *rows: bytes) -> None:
        for row in rows:
            self._rows(key).pop(row, None)

    def _rows(self, key: str) -> dict[bytes, float]:
        return self.cancelled if key == CANCELLED_KEY else self.revocations

    def zcard(self, _key: str) -> int:
        self._fail()
        return len(self.revocations)

    def pipeline(self, transaction: bool) -> SteeredWorkers:
        assert transaction, "storing a revocation and notifying the workers have to be one transaction"
        self._results.clear()
        return self

    def __enter__(self) -> SteeredWorkers:
        return self

    def __exit__(self, *_: object) -> None: ...

    def zadd(self, key: str, rows: dict[bytes, float]) -> None:
        self._rows(key).update(rows)

    def expire(self, *_: Any) -> None: ...

    def set(self, *_: Any, **__: Any) -> None: ...

    def publish(self, _channel: str, message: bytes) -> None:
        command = commands.read_command(message)
        assert command is not None
        assert not isinstance(command, AddressLocked)
        self.received.append(command)
        answers = [answer for worker in self.workers for answer in worker(command)]
        self.lists[f"peatio_ws:steering:{command.question}"] = [commands.encode(answer) for answer in answers]
        self._results.append(len(self.workers))

    def execute(self) -> list[Any]:
        self._fail()
        return self._results

    def blpop(self, keys: list[str], timeout: int) -> tuple[str, bytes] | None:
        assert timeout > 0
        answers = self.lists.get(keys[0])
        return (keys[0], answers.pop(0)) if answers else None

    def delete(self, key: str) -> None:
        self.lists.pop(key, None)

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
