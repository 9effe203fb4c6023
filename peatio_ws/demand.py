"""Routing keys that are bound only while a client of this worker needs them, so that the broker sends nothing in vain.

Knows nothing of streams and members, which are for the caller to turn into keys.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import gevent.event
import structlog
from amqp import spec

log = structlog.get_logger("peatio_ws.demand")

BIND_SECONDS: Final = 2.0
"""How long a client waits for the broker to bind what it asked for."""
LINGER_SECONDS: Final = 5.0
"""How long a key stays bound that nobody needs any more: who leaves often comes back."""


class Demand:
    """The keys of one queue on one topic exchange.

    Args:
        exchange: the topic exchange's name.
    """

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._counts: dict[str, int] = {}  # by key: how many need it; 0 while it lingers
        self._idle: dict[str, float] = {}  # since when nobody does
        self._pending: dict[str, gevent.event.Event] = {}
        self._sent: deque[str] = deque()  # binds that were not answered yet, in order
        self._channel: Any = None
        self._queue = ""

    @property
    def keys(self) -> set[str]:
        """What is bound, or is to be."""
        return set(self._counts)

    def attach(self, channel: Any, queue: str) -> None:
        """Go on with a new connection's queue; the caller's next question to the broker is answered after this."""
        self.detach()
        self._channel, self._queue = channel, queue
        # py-amqp has no callback for an answer that nobody waits for in the reader's own greenlet (5.4.2).
        channel._callbacks[spec.Queue.BindOk] = self._on_bound
        for key in self._counts:
            channel.queue_bind(queue, self._exchange, key, nowait=True)

    def detach(self) -> None:
        """The connection is lost: nobody waits for it any longer. With the next one everything is bound again."""
        self._channel = None
        self._sent.clear()
        pending, self._pending = self._pending, {}
        for bound in pending.values():
            bound.set()

    def take(self, keys: Collection[str]) -> None:
        """One more client needs these keys. Waits until they are bound, for `BIND_SECONDS` at most."""
        new = [key for key in keys if key not in self._counts]
        for key in keys:  # before anything waits: whoever is interrupted gives back all of them
            self._counts[key] = self._counts.get(key, 0) + 1
            self._idle.pop(key, None)
        for key in new:
            self._bind(key)
        waits = [self._pending[key] for key in keys if key in self._pending]
        until = time.monotonic() + BIND_SECONDS
        for bound in waits:
            bound.wait(max(0.0, until - time.monotonic()))

    def give(self, keys: Iterable[str]) -> None:
        """One client needs them no more."""
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                self._idle[key] = time.monotonic()

    def sweep(self, now: float) -> None:
        """Unbind what nobody has needed for `LINGER_SECONDS`; called now and then with the monotonic time."""
        for key, since in list(self._idle.items()):
            if now - since < LINGER_SECONDS:
                break  # the others are younger
            del self._idle[key], self._counts[key]
            self._send(functools.partial(self._unbind, key))

    def _bind(self, key: str) -> None:
        if self._channel is None:
            return
        self._pending[key] = gevent.event.Event()
        self._sent.append(key)
        arguments: tuple[Any, ...] = (0, self._queue, self._exchange, key, False, {})
        self._send(lambda channel: channel.send_method(spec.Queue.Bind, "BsssbF", arguments))

    def _unbind(self, key: str, channel: Any) -> None:
        channel.queue_unbind(self._queue, self._exchange, key, nowait=True)

    def _send(self, say: Callable[[Any], object]) -> None:
        try:
            if self._channel is not None:
                say(self._channel)
        except Exception as error:  # whatever it is, the connection is lost, which its reader finds out
            log.debug("not said to the broker", error=str(error))
            self.detach()

    def _on_bound(self) -> None:
        if self._sent and (bound := self._pending.pop(self._sent.popleft(), None)):
            bound.set()
