"""The private deliveries of one worker: each is read, added to the history, and routed to its recipients.

Also decides when clients that resume are notified of a gap. Knows what sources report (`amqp/source.py`); does not open
or close them (`ingest.py`).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from typing import Final

import structlog

from peatio_ws.amqp.history_stream.offset import MARGIN_SECONDS
from peatio_ws.amqp.history_stream.setup import GAP
from peatio_ws.amqp.source import SourceRefused
from peatio_ws.errors import BadDelivery
from peatio_ws.monitoring.delivery_outcomes import DeliveryOutcomes
from peatio_ws.protocol.deliveries import Event, read
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.routing.cursor import Cursors
from peatio_ws.routing.history import STREAM, Entry, History
from peatio_ws.routing.router import Router
from peatio_ws.server.delivery_spans import DeliverySpans

log = structlog.get_logger("peatio_ws.server.private_ingest")

OVERLAP_SECONDS: Final = MARGIN_SECONDS + 3
"""The stream is read from at most this long before the worker's own queue was lost: `offset.start` rounds up, and the
broker begins with a whole chunk of messages."""


class PrivateIngest:
    """Processes private deliveries, and begins a new history when their source changes (`amqp.source.Observer`).

    Args:
        history: the last private events.
        keeps_history: False with `AMQP_HISTORY=off`.
        cursors: into the history.
        router: receives each event.
        outcomes: counts and logs what becomes of each delivery.
        queue: the name of the history stream, for the log.

    Attributes:
        live: whether the history has been read back, so that events are sent to clients.
        spans: routes events within spans; None if they are off.
    """

    def __init__(
        self,
        history: History,
        keeps_history: bool,
        cursors: Cursors,
        router: Router,
        outcomes: DeliveryOutcomes,
        queue: str,
    ) -> None:
        self._history, self._keeps_history, self._cursors = history, keeps_history, cursors
        self._router, self._outcomes, self._queue = router, outcomes, queue
        self.live = False
        self.spans: DeliverySpans | None = None
        self._gap = False  # clients are to be notified of one
        # Events of the last seconds before the source was lost, by era and offset; of the current source only.
        self._before_loss: dict[tuple[int, int], Entry] = {}
        # While the history stream is tried or read back: how often a delivery came from the worker's own queue, minus
        # how often it came from the stream.
        self._from_queue: Counter[tuple[str, str, bytes]] | None = None

    # ---- deliveries

    def on_delivery(self, delivery: Delivery) -> None:
        """Process one delivery. Whatever it contains, the next one is processed too.

        Never waits: when the connection ends, an error is raised in the reader where it waits. Here it would be taken
        for a failed delivery, and the event would be lost.
        """
        try:
            if delivery.exchange:
                self._on_event(delivery, read(delivery))
            else:
                self._on_marker(delivery)
        except BadDelivery as bad:
            if self.live:  # otherwise it was reported when it first arrived
                self._outcomes.drop(delivery, bad)
        except Exception:
            self._outcomes.fail(delivery)

    def _on_event(self, delivery: Delivery, event: Event) -> None:
        if self._gap and self.live:
            self._notify_gap()  # first: a client that receives only the event would not know of the gap
        entry = None
        if self._keeps_history and isinstance(event, PrivateEvent):
            entry = self._history.append(delivery.offset, delivery, event.owners, time.monotonic())
            if entry is None:
                self._outcomes.count(delivery, "again")
                return
        if not self.live:
            self._router.learn(event)
            self._outcomes.count(delivery, "read_back")
        elif self._from_queue is not None and self._is_repeated(delivery):
            self._outcomes.count(delivery, "again")
        else:
            if self.spans is None:
                self._router.route(event, entry)
            else:
                self.spans.route(delivery, event, entry)
            self._outcomes.count_routed(delivery)

    def _on_marker(self, delivery: Delivery) -> None:
        """Process a message that the gateways themselves put into the history stream, or a gap in it."""
        if delivery.offset is not None:
            self._cursors.learn(delivery.headers, time.monotonic())
        if delivery.body == GAP:
            self.on_gap()
        if self._keeps_history and self._history.append(delivery.offset, delivery, (), time.monotonic()) is None:
            return
        if self._gap and self.live:
            self._notify_gap()

    def _is_repeated(self, delivery: Delivery) -> bool:
        """Return whether a delivery of the stream came from this worker's queue before; see `_from_queue`."""
        assert self._from_queue is not None
        key = _key(delivery)
        if delivery.offset is None:
            self._from_queue[key] += 1
            return False
        if self._from_queue[key] <= 0:
            return False
        self._from_queue[key] -= 1
        return True

    # ---- what sources report

    def marker_headers(self) -> dict[str, str]:
        """Return the headers for the next marker in the history stream."""
        return self._cursors.announce(time.monotonic())

    def on_gap(self) -> None:
        """Private events may be missing. Clients are notified with the next event, or when no event is to come."""
        self._begin_history(self._history.name)

    def on_lost(self) -> None:
        """The connection to the current source is lost, perhaps for the second time within seconds."""
        history, since = self._history, time.monotonic() - OVERLAP_SECONDS
        self._before_loss |= {(history.era, entry.offset): entry for entry in history.since(since)}
        self._before_loss = {key: entry for key, entry in self._before_loss.items() if entry.received_at >= since}

    def on_read_back(self, replaced: bool) -> None:
        """All events that were published before now have been processed; the next ones are live.

        Args:
            replaced: whether the worker reads its own queue because the history stream was refused.
        """
        if not replaced:
            self._from_queue = None  # all repeated events have arrived by now
        if self.live and self._keeps_history and self._history.name != STREAM:
            self._begin_history(own_name())  # this worker has no events from the time without a connection
        self.live = True
        if self._gap:
            self._notify_gap()
            self._router.batch.flush()  # perhaps no delivery follows, after which the consumer would flush

    def on_source(self, refused: SourceRefused | None) -> None:
        """Begin a new history: from now on the worker reads another source (`source.SourceObserver`)."""
        if refused is None:
            log.info("history stream readable again", queue=self._queue)
            if self._from_queue is None:  # no trial has found the place at which the stream goes on
                self._from_queue = Counter(_key(entry.delivery) for entry in self._before_loss.values())
            self._before_loss.clear()
            self._begin_history(STREAM)
            return
        log.warning(
            "cannot read the history stream; this worker keeps its own history",
            queue=self._queue,
            remedy=refused.remedy,
            error=refused.detail,
        )
        self._from_queue = None
        self._before_loss.clear()
        self._begin_history(own_name())
        self._cursors.use_own_key()

    def on_trial(self, running: bool) -> None:
        """The history stream is being tried (`source.SourceObserver`). From now on both the stream and this worker's
        queue contain every event. Remember those of the queue, so that they are not sent again from the stream."""
        self._from_queue = Counter() if running else None

    def _begin_history(self, name: str) -> None:
        self._history.clear(name)
        self._gap = True

    def _notify_gap(self) -> None:
        self._gap = False
        if clients := self._router.notify_gap():
            log.warning("events may have been missed; clients that resume are notified", clients=clients)


def _key(delivery: Delivery) -> tuple[str, str, bytes]:
    """Return what a delivery has in common with its copy in another queue."""
    return delivery.exchange, delivery.routing_key, delivery.body


def own_name() -> str:
    """Return a name for a history whose offsets this worker counts itself."""
    return uuid.uuid4().hex[:12]
