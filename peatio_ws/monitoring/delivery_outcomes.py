"""Counts the outcomes of the broker's deliveries, and logs those that a publisher or the gateway caused.

The exceptions decide which faults are logged, and at which level (`errors/`).
"""

from __future__ import annotations

import time
from typing import Final

import structlog

from peatio_ws.errors import BadDelivery
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.monitoring.throttled_warnings import Throttle
from peatio_ws.protocol.exchanges import EXCHANGES, Delivery

log = structlog.get_logger("peatio_ws.monitoring.delivery_outcomes")

LOG_SECONDS: Final = 10.0
"""Each fault of an exchange is logged once in this time, with the number of deliveries left out since the last line."""

OTHER: Final = "other"


class DeliveryOutcomes:
    """The outcomes of one worker's deliveries."""

    def __init__(self, counters: WorkerCounters) -> None:
        self._counters = counters
        self._routed = {name: counters.count(metrics.deliveries, name, "routed") for name in (*EXCHANGES, OTHER)}
        self._throttle = Throttle()

    def count(self, delivery: Delivery, outcome: str) -> None:
        """Count a delivery by its exchange: Peatio's exchanges by name, all others as one."""
        exchange = delivery.exchange if delivery.exchange in EXCHANGES else OTHER
        self._counters.count(metrics.deliveries, exchange, outcome).value += 1

    def count_routed(self, delivery: Delivery) -> None:
        """Count a delivery that was routed."""
        (self._routed.get(delivery.exchange) or self._routed[OTHER]).value += 1

    def drop(self, delivery: Delivery, bad: BadDelivery) -> None:
        """Count an unreadable delivery, and log it without its body."""
        self.count(delivery, bad.label)
        if bad.level is None:
            return
        left_out = self._throttle.left_out((delivery.exchange, bad.code), time.monotonic(), LOG_SECONDS)
        if left_out is not None:
            size = len(delivery.body)
            fields = {"reason": bad.label, "left_out": left_out, "exchange": delivery.exchange, "bytes": size}
            getattr(log, bad.level)("delivery dropped", **fields)

    def fail(self, delivery: Delivery) -> None:
        """Count a delivery on which the gateway failed, and log the traceback. Call it in the exception handler."""
        self.count(delivery, "failed")
        log.exception("delivery failed", exchange=delivery.exchange, bytes=len(delivery.body))
