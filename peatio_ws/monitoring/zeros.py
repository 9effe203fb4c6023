"""Exports the counters that alerts are about as zero, before anything has happened.

Prometheus sees no increase when a series appears with the value 1, so the first failure would raise no alert.
"""

from __future__ import annotations

from peatio_ws.close_codes import Close
from peatio_ws.errors import DeliveryFault
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.delivery_outcomes import OTHER
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol.exchanges import EXCHANGES


def export_zeros() -> None:
    """Export them. Idempotent: values that exist are not changed."""
    for code in Close:
        metrics.closes.labels("gateway", str(code.value))
    for status in ("429", "503"):
        metrics.refusals.labels(status)
    for outcome in ("complete", "incomplete", "cut"):
        metrics.replays.labels(outcome)
    for source in ("private", "public"):
        metrics.broker_losses.labels(source)
    for exchange in (*EXCHANGES, OTHER):
        for outcome in (*(str(fault.value) for fault in DeliveryFault), "failed"):
            metrics.deliveries.labels(exchange, outcome)
    for limit in Limit:
        metrics.limits_reached.labels(limit.value)
