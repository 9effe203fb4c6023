"""From the broker to the router: a worker's consumers, and what is counted and said about what they bring."""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from typing import Any, Final

import gevent
import structlog

from peatio_ws import metrics
from peatio_ws.consumer import CLASSIC, PRIVATE, Consumer, OwnQueue, Source, public
from peatio_ws.demand import Demand
from peatio_ws.errors import BadDelivery
from peatio_ws.events import NO_OWNER, RANGER, Delivery, read
from peatio_ws.history import STREAM, History, owners_of
from peatio_ws.history_stream import GAP, HistoryStream
from peatio_ws.replay import Replays
from peatio_ws.router import Router
from peatio_ws.settings import Settings
from peatio_ws.shared import Shared
from peatio_ws.streams import Kind, halves, kind_of, routing_keys
from peatio_ws.supervise import supervise
from peatio_ws.tally import Tally

log = structlog.get_logger("peatio_ws.intake")

TELL_SECONDS: Final = 10.0
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


class Intake:
    """What a worker hears.

    Attributes:
        router: gets every event that can be read.
        tally: what came of what was heard.
        lag: see `Source.lag`, of private events.
        history: the private ones of the last while.
        replays: what clients that come back have missed of it.
    """

    def __init__(self, settings: Settings, shared: Shared) -> None:
        self._shared = shared
        self._live = False  # nothing is read back any more
        self._gap = False  # to be told of once it is
        self.tally = Tally()
        self._with_history = settings.history != "off"
        streamed = settings.history == "stream" and not settings.embedded
        name = STREAM if streamed else _own_name() if self._with_history else "off"
        self.history = History(name, settings.resume_seconds, settings.resume_bytes)
        self.router = Router(
            shared.recall,
            shared.remember,
            settings.orderbook_broadcast,
            settings.max_books,
            self._tell_book,
            self.history.cursor,
            self.tally,
            settings.ranger_classic_events,
        )
        durable = settings.amqp_durable
        # The in-process broker cannot bind on demand; whoever keeps history needs everybody's events.
        self._members = Demand(RANGER) if not self._with_history and not settings.embedded else None
        self._streams = Demand(RANGER) if settings.books and not settings.embedded else None
        self._book_names = tuple(f"{name}-inc" for name in settings.books)
        if streamed:
            private: Source = HistoryStream(
                settings.history_queue, durable, settings.resume_seconds, self._on_private, self._on_anew
            )
        else:
            bound = PRIVATE if self._members is None else CLASSIC
            private = OwnQueue("private", durable, bound, self._on_private, self._members)
        self.lag = private.lag
        self.replays = Replays(self.history, self.router, private.has_read_up_to)
        bindings = public(settings.roles, settings.books if self._streams else ())
        self._sources = (private, OwnQueue("public", durable, bindings, self._on_public, self._streams))
        self._urls = settings.amqp_urls
        self._consumers: dict[str, Consumer] = {}
        self._heard: set[str] = set()
        self._warnings: dict[tuple[str, str], tuple[float, int]] = {}
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def _consumer(self, source: Source) -> Consumer:
        heard = functools.partial(self._on_broker, source.name)
        return Consumer(source, self._urls, self.router.flush, heard, self.tally.batches[source.name].add)

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
        self._heard.clear()
        metrics.broker_connected.set(0)

    def problems(self) -> list[str]:
        """Why this worker does not hear all it should; nothing if it does."""
        if len(self._heard) == len(self._sources):
            return []
        silent = [self._consumers.get(source.name) for source in self._sources if source.name not in self._heard]
        read_back = all(consumer is not None and consumer.connected for consumer in silent)
        return ["history is being read back"] if read_back else ["the broker is not heard"]

    def behind(self) -> dict[str, float]:
        """See `Consumer.behind`, by source."""
        return {name: consumer.behind() for name, consumer in self._consumers.items()}

    def wait_until_live(self) -> None:
        """Before a member is served that is promised nothing: until history is read back, for `PLAIN_SECONDS` at most,
        so that nothing passes it by; but not so long for a broker that is away."""
        if not self.replays.caught_up.wait(AWAY_SECONDS) and self._consumers["private"].connected:
            self.replays.caught_up.wait(PLAIN_SECONDS - AWAY_SECONDS)

    def need_stream(self, name: str) -> None:
        """A client subscribes to a public or prefixed stream. Waits until the broker sends it, if it does not yet."""
        if self._streams is not None:
            self._streams.take(self._keys(name))

    def drop_stream(self, name: str) -> None:
        """It does not any more."""
        if self._streams is not None:
            self._streams.give(self._keys(name))

    def need_member(self, uid: str) -> None:
        """A member authenticates. Waits until the broker sends its events, if it does not yet."""
        if self._members is not None:
            self._members.take((f"private.{uid}.#",))

    def drop_member(self, uid: str) -> None:
        """A connection of the member is closed."""
        if self._members is not None:
            self._members.give((f"private.{uid}.#",))

    def _keys(self, name: str) -> list[str]:
        if kind_of(name) is Kind.PRIVATE or name.rpartition(".")[2] in self._book_names:
            return []  # of members, and bound in any case
        return [key for half in halves(name) for key in routing_keys(half)]

    def sweep(self) -> None:
        """Give back what nobody needs any more; to be called about once a second."""
        for demand in (self._members, self._streams):
            if demand is not None:
                demand.sweep(time.monotonic())

    def _on_broker(self, name: str, heard: bool) -> None:
        if heard:
            self._heard.add(name)
        else:
            self._heard.discard(name)
            metrics.broker_losses.labels(name).inc()
            demand = self._members if name == "private" else self._streams
            if demand is not None:
                demand.detach()
        metrics.broker_connected.set(not self.problems())
        if heard and name == "public":
            self.router.feeds.doubt()
            self._shared.ask_books()
        elif heard:
            self._shared.load()
            if self._live and self._with_history and self.history.name != STREAM:
                self._on_anew(False)  # what was published meanwhile went to no queue of ours
            self._live = True
            self.replays.caught_up.set()
            if self._gap:
                self._tell_gap()

    def _on_anew(self, streamed: bool) -> None:
        """The private events to come do not follow those there were.

        Args:
            streamed: whether they come from the stream.
        """
        self.history.clear(STREAM if streamed else _own_name())
        if streamed:
            # Told when that is read back: what comes until then goes to nobody, as most of it did before.
            self._live, self._gap = False, True
            self.replays.caught_up.clear()
        else:
            self.router.tell_gap()

    def _tell_gap(self) -> None:
        self._gap = False
        if told := self.router.tell_gap():
            log.warning("events may have been missed; clients that resume are told", clients=told)

    def _on_public(self, delivery: Delivery) -> None:
        try:
            self.router.route(read(delivery, public=True))
            self.tally.deliveries[delivery.exchange] += 1
        except BadDelivery as bad:
            self._drop(delivery, bad.reason)
        except Exception:
            self._fail(delivery)

    def _on_private(self, delivery: Delivery) -> None:
        """Route one delivery; whatever is in it, the next one is routed too."""
        try:
            event = read(delivery) if delivery.exchange else None  # a marker of the stream, or a gap in it
            if event is None and delivery.body == GAP:
                self.history.clear(self.history.name)
                self._gap = True
            owners = owners_of(event) if event is not None else ()
            entry = None
            if self._with_history and (owners or event is None):
                place = max(self.history.last, 0) + 1 if delivery.offset is None else delivery.offset
                entry = self.history.append(place, delivery, owners, time.monotonic())
                if entry is None:
                    self.tally.others[delivery.exchange, "again"] += 1
                    return
            if event is None:
                if self._gap and self._live:
                    self._tell_gap()
                return
            if self._live:
                self.router.route(event, entry)
                self.tally.deliveries[delivery.exchange] += 1
            else:
                self.router.learn(event)
                self.tally.others[delivery.exchange, "read_back"] += 1
        except BadDelivery as bad:
            if self._live:  # else it was told before, when it came
                self._drop(delivery, bad.reason)
        except Exception:
            self._fail(delivery)

    def _fail(self, delivery: Delivery) -> None:
        self.tally.others[delivery.exchange, "failed"] += 1
        log.exception("delivery failed", exchange=delivery.exchange, bytes=len(delivery.body))

    def _drop(self, delivery: Delivery, reason: str) -> None:
        """Count a delivery that cannot be read."""
        self.tally.others[delivery.exchange, reason] += 1
        if reason == NO_OWNER:
            return  # a healthy Peatio publishes these
        size = len(delivery.body)
        self._warn("delivery dropped", delivery.exchange, reason, exchange=delivery.exchange, bytes=size)

    def _tell_book(self, what: str, stream: str) -> None:
        if what == "hole":
            metrics.book_holes.inc()
            self._shared.ask_books()
        elif what == "restart":
            metrics.book_restarts.inc()
            self._shared.forget_book(stream.removesuffix("-inc"))
        self._warn(_BOOK_TROUBLE[what], "", what, stream=stream)

    def _warn(self, text: str, source: str, reason: str, **more: Any) -> None:
        """Log what a publisher does wrong; of one that does nothing else, not every time."""
        kind, now = (source, reason), time.monotonic()
        told, untold = self._warnings.get(kind, (-TELL_SECONDS, 0))
        if now - told < TELL_SECONDS:
            self._warnings[kind] = (told, untold + 1)
            return
        self._warnings[kind] = (now, 0)
        log.warning(text, reason=reason, untold=untold, **more)


def _own_name() -> str:
    """Of a history that this worker counts for itself."""
    return uuid.uuid4().hex[:12]
