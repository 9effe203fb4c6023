"""From the broker to the router: a worker's consumers, and what is counted and said about what they bring."""

from __future__ import annotations

import functools
import time
from typing import Any, Final

import gevent
import structlog

from peatio_ws import metrics
from peatio_ws.consumer import PRIVATE, PUBLIC, Consumer, prefixed
from peatio_ws.errors import BadDelivery
from peatio_ws.events import Delivery, read
from peatio_ws.router import Router
from peatio_ws.settings import Settings
from peatio_ws.shared import Shared
from peatio_ws.supervise import supervise

log = structlog.get_logger("peatio_ws.intake")

TELL_SECONDS: Final = 10.0
"""What publishers do wrong is logged once for each reason in this time, with how many times were not."""
STOP_SECONDS: Final = 5.0
_BOOK_TROUBLE: Final = {
    "hole": "increments of a book are missing; new subscribers wait for its next snapshot, or another worker's book",
    "full": "no room for another book; WEBSOCKET_MAX_BOOKS",
}


class Intake:
    """What a worker hears.

    Attributes:
        router: gets every event that can be read.
    """

    def __init__(self, settings: Settings, shared: Shared) -> None:
        self._shared = shared
        self.router = Router(
            shared.recall, shared.remember, settings.orderbook_broadcast, settings.max_books, self._tell_book
        )
        self._consumers = {
            name: Consumer(
                name,
                settings.amqp_urls,
                settings.amqp_durable,
                bindings,
                self._deliver,
                self.router.flush,
                functools.partial(self._on_broker, name),
            )
            for name, bindings in (("private", PRIVATE), ("public", (*PUBLIC, *prefixed(settings.roles))))
        }
        self._heard: set[str] = set()
        self._warnings: dict[tuple[str, str], tuple[float, int]] = {}
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def start(self) -> None:
        """Begin to hear the broker."""
        self._greenlets = [
            gevent.spawn(supervise, f"{name} consumer", consumer.run) for name, consumer in self._consumers.items()
        ]

    def stop(self) -> None:
        """Say good-bye to the broker."""
        for consumer in self._consumers.values():
            consumer.stop()
        gevent.killall(self._greenlets, timeout=STOP_SECONDS)
        self._heard.clear()
        self.count()
        metrics.broker_connected.set(0)

    def problems(self) -> list[str]:
        """Why this worker does not hear all it should; nothing if it does."""
        return [] if len(self._heard) == len(self._consumers) else ["the broker is not heard"]

    def count(self) -> None:
        """What the router counted since the last time, to the metrics, which are too slow to do it for each event."""
        for outcome, count in self.router.outcomes.items():
            metrics.events.labels(outcome).inc(count)
        self.router.outcomes.clear()

    def _on_broker(self, name: str, heard: bool) -> None:
        if heard:
            self._heard.add(name)
        else:
            self._heard.discard(name)
        metrics.broker_connected.set(not self.problems())
        if heard and name == "private":
            self._shared.load()
        elif heard:
            self.router.feeds.doubt()
            self._shared.ask_books()

    def _deliver(self, delivery: Delivery) -> None:
        """Route one delivery; whatever is in it, the next one is routed too."""
        try:
            self.router.route(read(delivery))
        except BadDelivery as bad:
            self._drop(delivery, bad.reason)
        except Exception:
            metrics.deliveries.labels(delivery.exchange, "failed").inc()
            log.exception("delivery failed", exchange=delivery.exchange, bytes=len(delivery.body))

    def _drop(self, delivery: Delivery, reason: str) -> None:
        """Count a delivery that cannot be read."""
        metrics.deliveries.labels(delivery.exchange, reason).inc()
        size = len(delivery.body)
        self._warn("delivery dropped", delivery.exchange, reason, exchange=delivery.exchange, bytes=size)

    def _tell_book(self, what: str, stream: str) -> None:
        if what == "hole":
            metrics.book_holes.inc()
            self._shared.ask_books()
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
