"""Binds routing keys only while a client of this worker needs them, so that the broker sends nothing unnecessary.

Theory of operation. The broker takes 0.4 to 1 ms per binding, and processes the bindings of all connections one after
the other. So bindings are made in the background, a few at a time, and their number does not delay events:

- A new queue is first bound *wide*: to patterns that match every key. From then on it receives everything. Then the
  keys are bound one by one, and finally the wide patterns are unbound.
- With more than `most` keys, or more than `BINDS_A_SECOND` new keys for a while, the queue is bound wide again until
  there are fewer. This limits the cost for the broker. In a rush (`BACKLOG`) the queue is bound wide, too, so that a
  client does not wait for the keys of earlier clients.
- The keys are bound over a dedicated channel. RabbitMQ closes it if it refuses a key (topic permissions). The key is
  then left out for a while, and the channel is opened again for the others.

Does not know streams or members; the caller turns them into keys.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import gevent
import gevent.event
import structlog
from amqp import spec
from amqp.exceptions import AccessRefused, AMQPError, ChannelError, error_for_code

from peatio_ws.amqp.source import SourceUnavailable
from peatio_ws.amqp.topology import attempt
from peatio_ws.concurrency.token_bucket import TokenBucket
from peatio_ws.monitoring import limits

log = structlog.get_logger("peatio_ws.amqp.on_demand_bindings")

BIND_SECONDS: Final = 2.0
"""How long a client waits for the bindings of its streams."""
LINGER_SECONDS: Final = 5.0
"""How long a key stays bound after its last client has left, because clients often return soon."""
WINDOW: Final = 8
"""Number of unanswered bindings at a time."""
BINDS_A_SECOND: Final = 100.0
BACKLOG: Final = 100
"""Number of pending keys ahead of a client's key: about 0.1 s, and the same again for each other worker."""
WIDE_SECONDS: Final = 30.0
"""How long a queue stays bound wide, at least, after there were too many keys."""
REFUSED_SECONDS: Final = 60.0
"""How long a refused key is not requested again."""
ATTACH_SECONDS: Final = 8.0

_BIND, _UNBIND = spec.Queue.Bind, spec.Queue.Unbind


class OnDemandBindings:
    """The keys of one queue on one topic exchange.

    Args:
        exchange: name of the topic exchange.
        wide: patterns that together match every possible key.
        most: maximum number of keys that are bound one by one; with more keys the queue is bound wide.
    """

    def __init__(self, exchange: str, wide: Collection[str], most: int) -> None:
        self._exchange, self._wide, self._most = exchange, tuple(wide), most
        self._counts: dict[str, int] = {}  # by key: number of clients; 0 while the key lingers
        self._idle: dict[str, float] = {}  # by key: since when no client needs it
        self._refused: dict[str, float] = {}  # keys and patterns, and until when they are not requested
        self._waiting: dict[str, gevent.event.Event] = {}  # events of waiting clients, by key
        self._widened_until: float | None = None  # monotonic time; None unless the queue is to be bound wide
        self._rate = TokenBucket(most, BINDS_A_SECOND)
        # State of one connection:
        self._channel: Any = None
        self._queue = ""
        self._opening = False  # the channel is being opened
        self._sending = False  # a greenlet is in `_send_next`
        self._bound: set[str] = set()
        # Keys to bind or unbind. OrderedDict, because a dict's first key is slow to find after many removals.
        self._pending: OrderedDict[str, None] = OrderedDict()
        self._sent: deque[tuple[Any, str]] = deque()  # unanswered methods, with their keys
        self._on_read: Callable[[], None] | None = None  # until it is called

    @property
    def keys(self) -> set[str]:
        """Keys that clients need, or needed a moment ago."""
        return set(self._counts)

    @property
    def is_wide(self) -> bool:
        """Whether the queue is bound wide, and so receives everything."""
        return self._bound.issuperset(self._wide)

    def attach(self, connection: Any, queue: str, on_read: Callable[[], None]) -> None:
        """Bind the queue of a new connection.

        Args:
            on_read: called once the queue receives everything that clients need.
        """
        self.detach()
        silence = SourceUnavailable("no channel for bindings", answered=False)
        with gevent.Timeout(ATTACH_SECONDS, silence):
            self._channel = connection.channel()
        self._queue, self._on_read = queue, on_read
        # py-amqp has no callbacks for answers that no greenlet waits for (5.4.2).
        self._channel._callbacks |= {
            spec.Queue.BindOk: self._on_answer,
            spec.Queue.UnbindOk: self._on_answer,
            spec.Channel.Close: self._on_close,
            spec.Channel.OpenOk: self._on_open,
        }
        if self._counts:
            self._opening = True  # new clients wait for this, too
            self._bind_wide(connection)
            self._opening = False
        self._pending = OrderedDict.fromkeys((*self._wide, *self._counts))
        self._send_next()

    def detach(self) -> None:
        """End all waiting, because the connection is lost. The next connection binds everything again."""
        self._channel = self._on_read = None
        self._opening = False
        self._sent.clear()
        self._pending.clear()
        self._bound.clear()
        for key in list(self._waiting):
            self._notify(key)

    def acquire(self, keys: Collection[str]) -> None:
        """Bind keys for a client. Waits until they are bound, for up to `BIND_SECONDS`."""
        new = [key for key in keys if key not in self._counts]
        for key in keys:  # before waiting, because an interrupted caller releases all of them
            self._counts[key] = self._counts.get(key, 0) + 1
            self._idle.pop(key, None)
        if self._channel is None:
            return
        if not self._is_affordable(len(new)) or len(self._pending) > BACKLOG:
            self._widen()
        for key in new:
            if not self.is_wide:
                self._waiting[key] = gevent.event.Event()
            self._pending[key] = None
        self._send_next()
        waits = [self._waiting[key] for key in keys if key in self._waiting]
        until = time.monotonic() + BIND_SECONDS
        for bound in waits:
            bound.wait(max(0.0, until - time.monotonic()))

    def release(self, keys: Iterable[str]) -> None:
        """Release keys that a client no longer needs."""
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                self._idle[key] = time.monotonic()

    def sweep(self, now: float) -> list[str]:
        """Unbind keys unused for `LINGER_SECONDS`. Called about once a second, with the monotonic time. Return the keys
        whose events may be missing: those, and refused ones that are requested again."""
        lost = [key for key, since in self._idle.items() if now - since >= LINGER_SECONDS]
        for key in lost:
            del self._idle[key], self._counts[key]
        again = [key for key, until in self._refused.items() if now > until]
        for key in again:
            del self._refused[key]
        self._pending.update(dict.fromkeys(lost + again))
        self._send_next()
        return lost + again

    # ---- deciding what to bind

    def _is_affordable(self, new: int) -> bool:
        """Return whether this number of new keys can be bound one by one."""
        self._rate.refill(time.monotonic())
        return self._rate.take(new) and len(self._counts) <= self._most

    def _widen(self) -> None:
        if self._widened_until is None:
            limits.count(limits.Limit.STREAMS)
            log.info("too many stream bindings; receiving all streams for a while", keys=len(self._counts))
            self._pending = OrderedDict.fromkeys((*self._wide, *self._pending))
        self._widened_until = time.monotonic() + WIDE_SECONDS

    def _is_wanted(self, key: str) -> bool:
        if key in self._refused:
            return False
        if key in self._wide:
            return self._widened_until is not None
        return key in self._counts and (len(self._counts) <= self._most or not self.is_wide)

    def _bind_wide(self, connection: Any) -> None:
        """Bind the patterns, and wait for the answers. Clients then need not wait for their keys."""
        if self._widened_until is None:
            self._widened_until = 0.0
        silence = SourceUnavailable("bindings were not answered", answered=False)
        try:
            with gevent.Timeout(ATTACH_SECONDS, silence):
                attempt(connection, self._bind_patterns)
        except AccessRefused:
            self._refuse(self._wide)
        else:
            self._bound.update(self._wide)
            for key in list(self._waiting):
                self._notify(key)

    def _bind_patterns(self, channel: Any) -> None:
        for pattern in self._wide:
            channel.queue_bind(self._queue, self._exchange, pattern)

    def _refuse(self, keys: Iterable[str]) -> None:
        limits.reached(limits.Limit.REFUSED_KEYS, routing_keys=list(keys))
        for key in keys:
            self._refused[key] = time.monotonic() + REFUSED_SECONDS
            self._notify(key)

    def _on_all_answered(self) -> bool:
        """Find the next step after all bindings were answered. The queue now receives at least what clients need.

        Returns:
            Whether there is anything to send.
        """
        on_read, self._on_read = self._on_read, None
        if on_read is not None:
            on_read()
        until = self._widened_until
        if until is None or len(self._counts) > self._most or time.monotonic() < until:
            return False
        missing = [key for key in self._counts if key not in self._bound and key not in self._refused]
        if not missing:
            self._widened_until = None
        self._pending.update(dict.fromkeys(missing or self._wide))
        return True

    # ---- messages to and from the broker

    def _send_next(self) -> None:
        """Send up to `WINDOW` methods. Only one greenlet does this at a time."""
        if self._channel is None or self._opening or self._sending:
            return
        if self.is_wide and self._on_read is not None:
            on_read, self._on_read = self._on_read, None
            on_read()
        self._sending = True
        try:
            while len(self._sent) < WINDOW and self._channel is not None:
                if not self._pending and (self._sent or not self._on_all_answered()):
                    break
                key, _ = self._pending.popitem(last=False)
                self._bind_or_unbind(key)
        except (OSError, AMQPError) as error:  # the connection is lost; its reader handles that
            log.debug("binding not sent", error=type(error).__name__)
            self.detach()
        finally:
            self._sending = False

    def _bind_or_unbind(self, key: str) -> None:
        wanted = self._is_wanted(key)
        if wanted and key not in self._bound:
            self._sent.append((_BIND, key))
            self._channel.send_method(_BIND, "BsssbF", (0, self._queue, self._exchange, key, False, {}))
        elif not wanted and key in self._bound:
            self._sent.append((_UNBIND, key))
            self._bound.discard(key)
            self._channel.send_method(_UNBIND, "BsssF", (0, self._queue, self._exchange, key, {}))
        else:
            self._notify(key)

    def _on_answer(self) -> None:
        if not self._sent:
            return  # a late answer, after the connection was found to be lost
        method, key = self._sent.popleft()
        if method == _BIND:
            self._bound.add(key)
            for served in list(self._waiting) if key in self._wide and self.is_wide else (key,):
                self._notify(served)
        if self._is_wanted(key) != (key in self._bound):
            self._pending[key] = None  # the need for it has changed meanwhile
        self._send_next()

    def _on_close(self, code: int, text: str, class_id: int, method_id: int) -> None:
        """Handle a refusal: the broker refused the oldest unanswered method, and ignored the later ones."""
        method = (class_id, method_id)
        if code != AccessRefused.code or method not in (_BIND, _UNBIND) or not self._sent:
            raise error_for_code(code, text, method, ChannelError)
        method, refused = self._sent.popleft()
        if method == _UNBIND:
            self._bound.add(refused)  # it is still bound
        self._pending = OrderedDict.fromkeys((*(key for _, key in self._sent), *self._pending))
        self._bound.update(key for method, key in self._sent if method == _UNBIND)
        self._sent.clear()
        self._refuse([refused])
        self._opening = True
        self._channel.send_method(spec.Channel.CloseOk)
        self._channel.send_method(spec.Channel.Open, "s", ("",))

    def _on_open(self) -> None:
        self._opening = False
        self._send_next()

    def _notify(self, key: str) -> None:
        if bound := self._waiting.pop(key, None):
            bound.set()
