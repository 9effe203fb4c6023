"""From the broker to the router: a worker's consumers, and what is counted and said about what they bring."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import uuid
from collections import Counter
from typing import Any, Final

import gevent
import structlog

from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.source import SourceRefused, Sources
from peatio_ws.amqp.stream_setup import GAP
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.errors import BadDelivery
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import EventCounters
from peatio_ws.monitoring.throttled_warnings import Throttle
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.event_kinds import NO_OWNER, Delivery, Event
from peatio_ws.protocol.stream_name_limit import StreamNameLimit
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import STREAM, Entry, History, owners_of
from peatio_ws.routing.replay import Replays
from peatio_ws.routing.router import Router
from peatio_ws.server.broker_sources import ClientInterest, private_sources, public_source

log = structlog.get_logger("peatio_ws.server.ingest")

LOG_SECONDS: Final = 10.0
"""What publishers do wrong is logged once for each reason in this time, with how many times were not."""
STOP_SECONDS: Final = 5.0
PLAIN_SECONDS: Final = 5.0
AWAY_SECONDS: Final = 1.0
"""How long a member who authenticates waits for a worker that reads back, and for a broker that is not there."""
_BOOK_TROUBLE: Final = {
    "hole": "increments of a book are missing; new subscribers wait for its next snapshot, or another worker's book",
    "restart": "the sequence of a book starts again; new subscribers wait for its next snapshot",
    "full": "no room for another book; WEBSOCKET_MAX_BOOKS",
}


class BrokerIngest:
    """What a worker hears.

    Attributes:
        router: gets every event that can be read.
        counters: what came of what was heard.
        lag: see `Source.lag`, of private events.
        history: the private ones of the last while.
        cursors: into it.
        interest: what clients need from the broker.
        names: which stream names there is room for.
        replays: what clients that come back have missed of it.
    """

    def __init__(self, settings: Settings, shared: SharedState) -> None:
        self._shared = shared
        self._live = False  # nothing is read back any more
        self._gap = False  # to be told of once it is
        self.counters = EventCounters()
        self._with_history = settings.history != "off"
        streamed = settings.history == "stream" and not settings.embedded
        name = STREAM if streamed else _own_name() if self._with_history else "off"
        self.history = History(name, settings.resume_seconds, settings.resume_bytes)
        self.cursors = Cursors(self.history, os.urandom)
        self.router = Router(
            shared.recall,
            shared.remember,
            self.cursors,
            settings.orderbook_broadcast,
            settings.max_books,
            self._on_book_event,
            self.counters,
            settings.ranger_classic_events,
        )
        channels = self.router.channels
        self.names = StreamNameLimit(channels.holds, channels.names, settings.max_stream_names)
        self.interest = ClientInterest(settings)
        private = private_sources(settings, self.interest, self._on_private, self._on_gap, self._marker_headers)
        self._private = Sources(*private, self)
        self._public = Sources(public_source(settings, self.interest, self._on_public))
        self._sources = (self._private, self._public)
        self._history_queue = settings.history_queue
        self._delivered: Counter[tuple[str, str, bytes]] | None = None  # while a source is tried; see `on_trial`
        self.lag = self._private.lag
        self.replays = Replays(self.history, self.cursors, self.router, self._private.has_read_up_to)
        self._urls = settings.amqp_urls
        self._consumers: dict[str, Consumer] = {}
        self._connected: set[str] = set()
        self._throttle = Throttle()
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def _consumer(self, sources: Sources) -> Consumer:
        connected = functools.partial(self._on_broker, sources.name)
        return Consumer(sources, self._urls, self.router.flush, connected, self.counters.batches[sources.name].add)

    def start(self) -> None:
        """Begin to hear the broker; again after `stop`, too."""
        self._consumers = {source.name: self._consumer(source) for source in self._sources}
        self._greenlets = [
            gevent.spawn(supervise, f"{name} consumer", consumer.run) for name, consumer in self._consumers.items()
        ]

    def stop(self) -> None:
        """Say good-bye to the broker."""
        for consumer in self._consumers.values():
            consumer.stop()
        with contextlib.suppress(gevent.Timeout):  # a frozen broker can hold one of them; the process ends anyway
            gevent.killall(self._greenlets, timeout=STOP_SECONDS)
        self._connected.clear()
        metrics.broker_connected.set(0)

    def problems(self) -> list[str]:
        """Why this worker does not hear all it should; nothing if it does."""
        if len(self._connected) == len(self._sources):
            return []
        silent = [self._consumers.get(source.name) for source in self._sources if source.name not in self._connected]
        read_back = all(consumer is not None and consumer.connected for consumer in silent)
        return ["history is being read back"] if read_back else ["not connected to the broker"]

    def behind(self) -> dict[str, float]:
        """See `Consumer.behind`, by source."""
        return {name: consumer.behind() for name, consumer in self._consumers.items()}

    def wait_until_live(self) -> None:
        """Before a member is served that is promised nothing: until history is read back, for `PLAIN_SECONDS` at most,
        so that nothing passes it by; but not so long for a broker that is away."""
        if not self.replays.caught_up.wait(AWAY_SECONDS) and self._consumers["private"].connected:
            self.replays.caught_up.wait(PLAIN_SECONDS - AWAY_SECONDS)

    def _on_broker(self, name: str, connected: bool) -> None:
        if connected:
            self._connected.add(name)
        else:
            self._connected.discard(name)
            metrics.broker_losses.labels(name).inc()
        metrics.broker_connected.set(not self.problems())
        if connected and name == "public":
            self.router.channels.mark_stale()
            self._shared.ask_books()
        elif connected:
            self._shared.load()
            if not self._private.replaced:
                self._delivered = None  # what came twice has come twice by now
            if self._live and self._with_history and self.history.name != STREAM:
                self._begin_history(_own_name())  # what was published meanwhile went to no queue of ours
            self._live = True
            self.replays.caught_up.set()
            if self._gap:
                self._notify_gap()

    def on_source(self, refused: SourceRefused | None) -> None:
        """Private events come from another source now (`source.Observer`)."""
        if refused is None:
            log.info("the history stream can be read again", queue=self._history_queue)
            self._begin_history(STREAM)
            return
        log.warning(
            "cannot read the history stream; this worker keeps its own history until it can, and a client that comes "
            "back to another worker is notified that it may have missed something",
            queue=self._history_queue,
            remedy=refused.refusal.value,
            error=refused.detail,
        )
        self._begin_history(_own_name())
        self.cursors.use_own_key()

    def on_trial(self, running: bool) -> None:
        """The history stream is tried (`source.Observer`). From then on it has every event, and so has the queue that
        is read until then; what came from there is remembered, not to be sent again when it comes from the stream."""
        self._delivered = Counter() if running else None

    def _marker_headers(self) -> dict[str, str]:
        return self.cursors.announce(time.monotonic())

    def _on_gap(self) -> None:
        """Private events may have been missed. Told once the next one has come, or it is clear that none is to come."""
        self._begin_history(self.history.name)

    def _begin_history(self, name: str) -> None:
        self.history.clear(name)
        self._gap = True

    def _notify_gap(self) -> None:
        self._gap = False
        if notified := self.router.notify_gap():
            log.warning("events may have been missed; clients that resume are told", clients=notified)

    def _on_public(self, delivery: Delivery) -> None:
        try:
            self.router.route(read(delivery, public=True))
            self.counters.deliveries[delivery.exchange] += 1
        except BadDelivery as bad:
            self._drop(delivery, bad.reason)
        except Exception:
            self._fail(delivery)

    def _on_private(self, delivery: Delivery) -> None:
        """Route one delivery; whatever is in it, the next one is routed too."""
        try:
            event = read(delivery) if delivery.exchange else None  # a marker of the stream, or a gap in it
            if event is None:
                if delivery.offset is not None:
                    self.cursors.learn(delivery.headers, time.monotonic())
                if delivery.body == GAP:
                    self._on_gap()
            owners = owners_of(event) if event is not None else ()
            if self._gap and self._live and event is not None:
                self._notify_gap()  # first: a client that has the event alone would not know of the gap
            entry = None
            if self._with_history and (owners or event is None):
                offset = max(self.history.last, 0) + 1 if delivery.offset is None else delivery.offset
                entry = self.history.append(offset, delivery, owners, time.monotonic())
                if entry is None:
                    self.counters.others[delivery.exchange, "again"] += 1
                    return
            if event is not None:
                self._route(delivery, event, entry)
            if self._gap and self._live:
                self._notify_gap()
        except BadDelivery as bad:
            if self._live:  # else it was told before, when it came
                self._drop(delivery, bad.reason)
        except Exception:
            self._fail(delivery)

    def _route(self, delivery: Delivery, event: Event, entry: Entry | None) -> None:
        if not self._live:
            self.router.learn(event)
            self.counters.others[delivery.exchange, "read_back"] += 1
        elif self._delivered is not None and self._is_repeat(delivery):
            self.counters.others[delivery.exchange, "again"] += 1
        else:
            self.router.route(event, entry)
            self.counters.deliveries[delivery.exchange] += 1

    def _is_repeat(self, delivery: Delivery) -> bool:
        """Whether what comes from the stream came from this worker's queue, while the stream was being tried."""
        assert self._delivered is not None
        key = (delivery.exchange, delivery.routing_key, delivery.body)
        if delivery.offset is None:
            self._delivered[key] += 1
            return False
        if self._delivered[key] <= 0:
            return False
        self._delivered[key] -= 1
        return True

    def _fail(self, delivery: Delivery) -> None:
        self.counters.others[delivery.exchange, "failed"] += 1
        log.exception("delivery failed", exchange=delivery.exchange, bytes=len(delivery.body))

    def _drop(self, delivery: Delivery, reason: str) -> None:
        """Count a delivery that cannot be read."""
        self.counters.others[delivery.exchange, reason] += 1
        if reason == NO_OWNER:
            return  # a healthy Peatio publishes these
        size = len(delivery.body)
        self._warn("delivery dropped", delivery.exchange, reason, exchange=delivery.exchange, bytes=size)

    def _on_book_event(self, what: str, stream: str) -> None:
        if what == "hole":
            metrics.book_holes.inc()
            self._shared.ask_books()
        elif what == "restart":
            metrics.book_restarts.inc()
            self._shared.forget_book(stream.removesuffix("-inc"))
        self._warn(_BOOK_TROUBLE[what], "", what, stream=stream)

    def _warn(self, text: str, source: str, reason: str, **more: Any) -> None:
        """Log what a publisher does wrong; of one that does nothing else, not every time."""
        untold = self._throttle.left_out((source, reason), time.monotonic(), LOG_SECONDS)
        if untold is not None:
            log.warning(text, reason=reason, untold=untold, **more)


def _own_name() -> str:
    """Of a history that this worker counts for itself."""
    return uuid.uuid4().hex[:12]
