"""A model of a broker: what `check` uses of RabbitMQ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amqp.exceptions import AccessRefused, NotFound, PreconditionFailed

from peatio_ws.protocol.exchanges import EXCHANGES


class Broker:
    """The part of RabbitMQ that `check` uses: one connection; all its channels are this object.

    Attributes:
        exchanges, queues: names of those that exist.
        arguments: of the history stream; None for those of any declaration.
        denied: names of forbidden methods.
        left: what this connection declared and has not deleted.
        published: routing keys of published messages.
    """

    def __init__(self) -> None:
        self.exchanges = set(EXCHANGES)
        self.queues: set[str] = {"history"}
        self.arguments: Any = None
        self.denied: set[str] = set()
        self.left: set[str] = set()
        self.published: list[str] = []
        self.version = "3.13.7"
        self.opened, self.connected, self.silent = 0, False, False
        self.on_blocked: Any = None
        self.heartbeat = 30
        self._consumers: dict[str, Any] = {}
        self._waiting: list[Any] = []

    @property
    def server_properties(self) -> dict[str, Any]:
        return {"product": "RabbitMQ", "version": self.version}

    def establish(self) -> Broker:
        self.opened += 1
        self.connected = True
        self.drain_events = self._drain
        return self

    # ---- a connection

    def channel(self) -> Broker:
        if self.silent:
            self.drain_events()
        return self

    def close(self) -> None: ...

    def collect(self) -> None:
        self.connected = False

    def _drain(self, timeout: float | None = None) -> None:
        if not self._waiting:
            raise TimeoutError
        consumer, message = self._waiting.pop(0)
        consumer(message)

    # ---- a channel

    def exchange_declare(
        self, name: str, _kind: str, passive: bool = False, durable: bool = False, arguments: Any = None, **_: Any
    ) -> None:
        if passive:
            if name not in self.exchanges:
                raise NotFound
            return
        self._check("exchange_declare")
        if arguments or durable:
            raise PreconditionFailed
        assert name in self.exchanges, "the check declared an exchange"

    def queue_declare(
        self, name: str, passive: bool = False, exclusive: bool = False, arguments: Any = None, **_: Any
    ) -> None:
        if passive:
            if name not in self.queues:
                raise NotFound
            return
        self._check("queue_declare")
        if exclusive and "x-queue-type" in (arguments or {}):
            raise PreconditionFailed
        if name == "history" and self.arguments not in (None, arguments):
            raise PreconditionFailed
        if name not in self.queues:
            self.left.add(name)

    def queue_delete(self, name: str) -> None:
        self.left.discard(name)

    def queue_bind(self, _queue: str, exchange: str, _key: str) -> None:
        self._check("queue_bind")
        if exchange not in self.exchanges:
            raise NotFound

    def queue_unbind(self, *_: str) -> None:
        self._check("queue_bind")

    def basic_qos(self, **_: Any) -> None: ...

    def basic_consume(self, queue: str, callback: Any, **_: Any) -> str:
        self._check("basic_consume")
        self._consumers[queue] = callback
        return queue

    def basic_cancel(self, queue: str) -> None:
        del self._consumers[queue]

    def basic_ack(self, _tag: int) -> None: ...

    def basic_publish_confirm(self, message: Any, _exchange: str, queue: str) -> None:
        self._check("basic_publish")
        self.published.append(queue)
        if queue in self._consumers:
            found = SimpleNamespace(body=message.body, delivery_tag=1)
            self._waiting.append((self._consumers[queue], found))

    def _check(self, method: str) -> None:
        if method in self.denied:
            raise AccessRefused(f"no permission for {method}")
