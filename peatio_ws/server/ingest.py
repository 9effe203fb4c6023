"""What a worker reads from the broker: its sources and consumers, and everything they feed.

Builds the way of events, and reports whether it is complete. What happens to a private delivery on that way is in
`private_ingest.py`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import Any, Final

import gevent
import structlog

from peatio_ws.amqp.consumer import Consumer
from peatio_ws.amqp.source import Sources
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.concurrency.supervision import supervise
from peatio_ws.config.settings import Settings
from peatio_ws.errors import BadDelivery
from peatio_ws.monitoring import metrics, spans
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.monitoring.delivery_outcomes import DeliveryOutcomes
from peatio_ws.monitoring.throttled_warnings import Throttle
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.stream_name_limit import StreamNameLimit
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.channels import PublicChannels
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import STREAM, History
from peatio_ws.routing.replay import Replays
from peatio_ws.routing.router import Router
from peatio_ws.server.broker_sources import ClientInterest, private_sources, public_source
from peatio_ws.server.delivery_spans import DeliverySpans
from peatio_ws.server.private_ingest import PrivateIngest, own_name
from peatio_ws.transport.outbox import NEVER

log = structlog.get_logger("peatio_ws.server.ingest")

LOG_SECONDS: Final = 10.0
"""Each problem with books is logged once in this time, with the number of lines that were left out."""
STOP_SECONDS: Final = 5.0
LIVE_SECONDS: Final = 5.0
UNREACHABLE_SECONDS: Final = 1.0
"""How long a member that authenticates waits for a worker that reads its history back, and for an unreachable
broker."""
NO_HISTORY: Final = "off"
"""The name of a history without events."""
_BOOK_PROBLEMS: Final = {
    "hole": "increments of a book are missing; new subscribers wait for its next snapshot, or another worker's book",
    "restart": "the sequence of a book starts again; new subscribers wait for its next snapshot",
    "full": "no room for another book; WEBSOCKET_MAX_BOOKS",
}


class BrokerIngest:
    """The way of events from the broker to the outboxes of one worker.

    Args:
        shared: the state that workers share.
        counters: of the worker.

    Attributes:
        router, channels: deliver every event that can be read.
        history: the last private events.
        cursors: into the history.
        replays: for clients that come back.
        interest: what the broker sends this worker because clients need it.
        names: the stream names that the worker has room for.
        private, public: what happens to private and to public deliveries.
        lag: see `Source.lag`, of private events.
    """

    def __init__(self, settings: Settings, shared: SharedState, counters: WorkerCounters) -> None:
        self._shared, self._counters, self._urls = shared, counters, settings.amqp_urls
        keeps_history = settings.history != "off"
        streamed = settings.history == "stream" and not settings.embedded
        name = STREAM if streamed else own_name() if keeps_history else NO_HISTORY
        compress_over = settings.compression_threshold if settings.compression else NEVER
        outcomes, self._batch = DeliveryOutcomes(counters), Batch(counters, compress_over)
        self.history = History(name, settings.history_seconds, settings.resume_bytes)
        self.cursors = Cursors(self.history, os.urandom)
        books = BookProblems(shared)
        self.channels = channels = PublicChannels(self._batch, settings.max_books, books.report)
        self.router = Router(
            shared.recall,
            shared.remember,
            self.cursors,
            self._batch,
            channels,
            counters,
            settings.orderbook_broadcast,
            settings.ranger_classic_events,
        )
        self.names = StreamNameLimit(channels.holds, channels.names, settings.max_stream_names)
        self.interest = ClientInterest(settings, channels.marked.forget)
        self.private = private = PrivateIngest(
            self.history, keeps_history, self.cursors, self.router, outcomes, settings.history_queue
        )
        self.public = PublicIngest(self.router, outcomes)
        self._private_sources = Sources(
            *private_sources(settings, self.interest, private.on_delivery, private.on_gap, private.marker_headers),
            private,
        )
        self._public_sources = Sources(public_source(settings, self.interest, self.public.on_delivery))
        self.lag = self._private_sources.lag
        self.replays = Replays(self.history, self.cursors, self.router, self._private_sources.has_read_up_to)
        self._consumers: dict[str, Consumer] = {}
        self._connected: set[str] = set()
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    # ---- start and stop

    def start(self) -> None:
        """Start to read from the broker, also after `stop`."""
        if self.history.name not in (STREAM, NO_HISTORY):
            # The master may have made this object before it forked several workers (gunicorn's `preload_app`).
            self.history.clear(own_name())
            self.cursors.use_own_key()
        self._use_spans()
        sources = (self._private_sources, self._public_sources)
        self._consumers = {source.name: self._consumer(source) for source in sources}
        self._greenlets = [
            gevent.spawn(supervise, f"{name} consumer", consumer.run) for name, consumer in self._consumers.items()
        ]

    def _use_spans(self) -> None:
        """Route events within spans if OpenTelemetry is configured."""
        tracer = spans.tracer()
        made = DeliverySpans(tracer, self.router, self._batch) if tracer is not None else None
        self.private.spans = self.public.spans = made

    def _consumer(self, sources: Sources) -> Consumer:
        on_broker = functools.partial(self.on_broker, sources.name)
        durations = self._counters.durations(metrics.latency.labels(sources.name))
        flush = self._batch.flush if self.private.spans is None else self.private.spans.flush
        return Consumer(sources, self._urls, flush, on_broker, durations.add)

    def stop(self) -> None:
        """Close the connections to the broker."""
        for consumer in self._consumers.values():
            consumer.stop()
        with contextlib.suppress(gevent.Timeout):  # a frozen broker can block one of them; the process ends anyway
            gevent.killall(self._greenlets, timeout=STOP_SECONDS)
        self._connected.clear()
        self.channels.marked.forget_all()
        metrics.broker_connected.set(0)

    def on_broker(self, name: str, connected: bool) -> None:
        """A source can be read up to the present, or its connection is lost."""
        if not connected:
            self._connected.discard(name)
            if name == "public":
                self.channels.marked.forget_all()
            else:
                self.private.on_lost()
            metrics.broker_losses.labels(name).inc()
            metrics.broker_connected.set(not self.problems())
            return
        self._connected.add(name)
        metrics.broker_connected.set(not self.problems())
        if name == "public":
            self.channels.mark_stale()
            self.channels.marked.on_gap()
            self._shared.ask_books()
        else:
            self._shared.load()
            self.private.on_read_back(self._private_sources.replaced)
            self.replays.caught_up.set()

    # ---- status

    def problems(self) -> list[str]:
        """Return why this worker does not receive all events; empty if it does."""
        missing = {"private", "public"} - self._connected
        if not missing:
            return []
        consumers = [self._consumers.get(name) for name in missing]
        reading_back = all(consumer is not None and consumer.connected for consumer in consumers)
        return ["history is being read back"] if reading_back else ["not connected to the broker"]

    def behind(self) -> dict[str, float]:
        """Return `Consumer.behind` of each source."""
        return {name: consumer.behind() for name, consumer in self._consumers.items()}

    def wait_until_live(self) -> None:
        """Wait until the history is read back, so that a member without a cursor misses nothing. Wait for at most
        `LIVE_SECONDS`, and `UNREACHABLE_SECONDS` if the broker is unreachable."""
        if not self.replays.caught_up.wait(UNREACHABLE_SECONDS) and self._consumers["private"].connected:
            self.replays.caught_up.wait(LIVE_SECONDS - UNREACHABLE_SECONDS)


class PublicIngest:
    """What happens to public deliveries.

    Attributes:
        spans: routes events within spans; None if they are off.
    """

    def __init__(self, router: Router, outcomes: DeliveryOutcomes) -> None:
        self._router, self._outcomes = router, outcomes
        self.spans: DeliverySpans | None = None

    def on_delivery(self, delivery: Delivery) -> None:
        """Process one delivery. Whatever it contains, the next one is processed too."""
        try:
            if self.spans is None:
                self._router.route(read(delivery, public=True))
            else:
                self.spans.route(delivery, read(delivery, public=True))
            self._outcomes.count_routed(delivery)
        except BadDelivery as bad:
            self._outcomes.drop(delivery, bad)
        except Exception:
            self._outcomes.fail(delivery)


class BookProblems:
    """Reports problems with books, and asks other workers for their books."""

    def __init__(self, shared: SharedState) -> None:
        self._shared, self._throttle = shared, Throttle()

    def report(self, what: str, stream: str) -> None:
        """Count and log a problem: `hole`, `restart` or `full`."""
        if what == "hole":
            metrics.book_holes.inc()
            self._shared.ask_books()
        elif what == "restart":
            metrics.book_restarts.inc()
            self._shared.forget_book(stream.removesuffix("-inc"))
        left_out = self._throttle.left_out(what, time.monotonic(), LOG_SECONDS)
        if left_out is not None:
            log.warning(_BOOK_PROBLEMS[what], reason=what, left_out=left_out, stream=stream)
