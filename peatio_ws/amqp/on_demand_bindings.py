"""Routing keys that are bound only while a client of this worker needs them, so that the broker sends nothing in vain.

Theory of operation. The broker takes 0.4 to 1 ms for a binding, one after the other, whoever asks. So bindings are made
in the background, a few at a time, and nobody's events depend on how many there are:

- A new queue is first bound *wide*: to patterns that match every key. From then on everything comes. Then the keys are
  bound one by one, and at last the wide patterns are unbound.
- More than `most` keys, or more than `BINDS_A_SECOND` new ones for a while, and the queue is bound wide again, until
  there are fewer. What clients ask for thus costs the broker no more than that. In a rush (`BACKLOG`), too, so that no
  client waits for the keys of those before it.
- The keys are bound over a channel of their own. RabbitMQ closes it where it refuses a key (topic permissions); that
  key is left out for a while, and all others are bound over another channel.

Knows nothing of streams and members; its caller turns them into keys.
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
from peatio_ws.monitoring import limits

log = structlog.get_logger("peatio_ws.amqp.on_demand_bindings")

BIND_SECONDS: Final = 2.0
"""How long a client waits for the broker to bind what it asked for."""
LINGER_SECONDS: Final = 5.0
"""How long a key stays bound after the last client that needed it has left: clients that leave often come back."""
WINDOW: Final = 8
"""Bindings that are under way at a time."""
BINDS_A_SECOND: Final = 100.0
BACKLOG: Final = 100
"""Keys that may have to be bound before that of a client: about 0.1 s, and as much again for each other worker."""
WIDE_SECONDS: Final = 30.0
"""How long a queue stays bound wide at least after there were too many keys."""
REFUSED_SECONDS: Final = 60.0
"""How long a key that the broker refused is not asked for again."""
ATTACH_SECONDS: Final = 8.0

_BIND, _UNBIND = spec.Queue.Bind, spec.Queue.Unbind


class OnDemandBindings:
    """The keys of one queue on one topic exchange.

    Args:
        exchange: the topic exchange's name.
        wide: patterns that together match every key there may be.
        most: keys bound one by one; with more of them the queue is bound wide.
    """

    def __init__(self, exchange: str, wide: Collection[str], most: int) -> None:
        self._exchange, self._wide, self._most = exchange, tuple(wide), most
        self._counts: dict[str, int] = {}  # by key: how many need it; 0 while it lingers
        self._idle: dict[str, float] = {}  # since when nobody does
        self._refused: dict[str, float] = {}  # keys and patterns, and until when they are not asked for
        self._waiting: dict[str, gevent.event.Event] = {}  # clients, by the key that they wait for
        self._widened_until: float | None = None  # monotonic time; None while it is not to be bound wide
        self._credit, self._credited_at = float(most), 0.0
        # Of one connection:
        self._channel: Any = None
        self._queue = ""
        self._opening = False  # the channel is being opened again
        self._sending = False  # a greenlet is at it
        self._bound: set[str] = set()
        # What may have to be bound or unbound. A dict's first key takes longer to find the more went before it.
        self._pending: OrderedDict[str, None] = OrderedDict()
        self._sent: deque[tuple[Any, str]] = deque()  # methods that were not answered yet, with their keys
        self._on_read: Callable[[], None] | None = None  # until it is called

    @property
    def keys(self) -> set[str]:
        """What is needed, or was a moment ago."""
        return set(self._counts)

    @property
    def is_wide(self) -> bool:
        """Whether everything comes, needed or not."""
        return self._bound.issuperset(self._wide)

    def attach(self, connection: Any, queue: str, on_read: Callable[[], None]) -> None:
        """Go on with a new connection's queue.

        Args:
            on_read: called once everything comes that is needed.
        """
        self.detach()
        silence = SourceUnavailable("no channel for bindings", answered=False)
        with gevent.Timeout(ATTACH_SECONDS, silence):
            self._channel = connection.channel()
        self._queue, self._on_read = queue, on_read
        # py-amqp has no callback for an answer that no greenlet waits for (5.4.2).
        self._channel._callbacks |= {
            spec.Queue.BindOk: self._on_answer,
            spec.Queue.UnbindOk: self._on_answer,
            spec.Channel.Close: self._on_close,
            spec.Channel.OpenOk: self._on_open,
        }
        if self._counts:
            self._opening = True  # clients that come meanwhile wait for this, too
            self._bind_wide(connection)
            self._opening = False
        self._pending = OrderedDict.fromkeys((*self._wide, *self._counts))
        self._send_next()

    def detach(self) -> None:
        """The connection is lost: nobody waits for it any longer. With the next one everything is bound again."""
        self._channel = self._on_read = None
        self._opening = False
        self._sent.clear()
        self._pending.clear()
        self._bound.clear()
        for key in list(self._waiting):
            self._notify(key)

    def acquire(self, keys: Collection[str]) -> None:
        """One more client needs these keys. Waits until they are bound, for `BIND_SECONDS` at most."""
        new = [key for key in keys if key not in self._counts]
        for key in keys:  # before anything waits: whoever is interrupted gives back all of them
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
        """One client needs them no more."""
        for key in keys:
            self._counts[key] -= 1
            if not self._counts[key]:
                self._idle[key] = time.monotonic()

    def sweep(self, now: float) -> None:
        """Unbind what nobody has needed for `LINGER_SECONDS`; called about once a second with the monotonic time."""
        for key, since in list(self._idle.items()):
            if now - since < LINGER_SECONDS:
                break  # the others are younger
            del self._idle[key], self._counts[key]
            self._pending[key] = None
        for key in [key for key, until in self._refused.items() if now > until]:
            del self._refused[key]
            self._pending[key] = None
        self._send_next()

    # ---- what is to be bound

    def _is_affordable(self, new: int) -> bool:
        """Whether so many more keys are to be bound one by one."""
        now = time.monotonic()
        self._credit = min(self._most, self._credit + (now - self._credited_at) * BINDS_A_SECOND) - new
        self._credited_at = now
        affordable = len(self._counts) <= self._most and self._credit >= 0
        self._credit = max(0.0, self._credit)
        return affordable

    def _widen(self) -> None:
        if self._widened_until is None:
            limits.count(limits.Limit.STREAMS)
            log.info("streams are not bound one by one for a while; all are read", keys=len(self._counts))
            self._pending = OrderedDict.fromkeys((*self._wide, *self._pending))
        self._widened_until = time.monotonic() + WIDE_SECONDS

    def _is_wanted(self, key: str) -> bool:
        if key in self._refused:
            return False
        if key in self._wide:
            return self._widened_until is not None
        return key in self._counts and (len(self._counts) <= self._most or not self.is_wide)

    def _bind_wide(self, connection: Any) -> None:
        """Bind the patterns, and wait for it: then nothing else has to be waited for."""
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

    def _bind_patterns(self, channel: Any) -> None:
        for pattern in self._wide:
            channel.queue_bind(self._queue, self._exchange, pattern)

    def _refuse(self, keys: Iterable[str]) -> None:
        limits.reached(limits.Limit.REFUSED_KEYS, routing_keys=list(keys))
        for key in keys:
            self._refused[key] = time.monotonic() + REFUSED_SECONDS
            self._notify(key)

    def _on_all_answered(self) -> bool:
        """Everything was answered: what comes is what is needed, and possibly more. Look for what to do next.

        Returns:
            Whether there is anything.
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

    # ---- to the broker, and from it

    def _send_next(self) -> None:
        """Send what may be under way now. Only one greenlet does at a time."""
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
        except (OSError, AMQPError) as error:  # the connection is lost, which its reader finds out
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
            return  # the connection turned out to be lost, with answers unread
        method, key = self._sent.popleft()
        if method == _BIND:
            self._bound.add(key)
            for served in list(self._waiting) if key in self._wide and self.is_wide else (key,):
                self._notify(served)
        if self._is_wanted(key) != (key in self._bound):
            self._pending[key] = None  # it has changed meanwhile
        self._send_next()

    def _on_close(self, code: int, text: str, class_id: int, method_id: int) -> None:
        """The broker refuses what it was asked first, and has not looked at what came after that."""
        method = (class_id, method_id)
        if code != AccessRefused.code or method not in (_BIND, _UNBIND) or not self._sent:
            raise error_for_code(code, text, method, ChannelError)
        method, refused = self._sent.popleft()
        if method == _UNBIND:
            self._bound.add(refused)  # it is bound still
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
