"""What is counted and logged about deliveries."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from peatio_ws.errors import BadDelivery, DeliveryFault
from peatio_ws.monitoring import delivery_outcomes, metrics
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.monitoring.delivery_outcomes import DeliveryOutcomes
from peatio_ws.protocol.exchanges import TRADE, Delivery

DELIVERY = Delivery(TRADE, "", {}, b"secret")


class Counted(dict[tuple[str, str], int]):
    """Delivery counts that are not zero."""

    def __init__(self, counters: WorkerCounters) -> None:
        self._counters = counters

    def __eq__(self, expected: object) -> bool:
        counts = self._counters._counts.items()
        return {
            labels: one.value for (metric, labels), one in counts if metric is metrics.deliveries and one.value
        } == (expected)

    def __getitem__(self, labels: tuple[str, str]) -> int:
        return self._counters.count(metrics.deliveries, *labels).value


def outcomes() -> tuple[DeliveryOutcomes, Counted]:
    counters = WorkerCounters()
    return DeliveryOutcomes(counters), Counted(counters)


def test_other_exchanges_are_counted_together() -> None:
    counted, counts = outcomes()
    for exchange in (TRADE, "a.stranger", "another"):
        counted.count_routed(Delivery(exchange, "", {}, b""))
        counted.count(Delivery(exchange, "", {}, b""), "again")
    assert counts == {
        (TRADE, "routed"): 1,
        ("other", "routed"): 2,
        (TRADE, "again"): 1,
        ("other", "again"): 2,
    }


@pytest.mark.parametrize("fault", DeliveryFault)
def test_dropped_delivery_is_logged_with_its_error(fault: DeliveryFault) -> None:
    counted, counts = outcomes()
    with capture_logs() as lines:
        counted.drop(DELIVERY, BadDelivery(fault))
    assert counts == {(TRADE, fault.value): 1}
    levels = [line["log_level"] for line in lines]
    assert levels == ([] if fault is DeliveryFault.NO_OWNER else ["warning"])
    assert "secret" not in str(lines)


def test_repeated_faults_are_logged_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(delivery_outcomes.time, "monotonic", lambda: now[0])
    counted, counts = outcomes()
    with capture_logs() as lines:
        for _ in range(5):
            counted.drop(DELIVERY, BadDelivery(DeliveryFault.JSON))
        counted.drop(DELIVERY, BadDelivery(DeliveryFault.SHAPE))
        now[0] += delivery_outcomes.LOG_SECONDS
        counted.drop(DELIVERY, BadDelivery(DeliveryFault.JSON))
    assert [(line["reason"], line["left_out"]) for line in lines] == [("json", 0), ("shape", 0), ("json", 4)]
    assert counts[TRADE, "json"] == 6


def test_failure_of_the_gateway_is_logged_with_a_traceback() -> None:
    counted, counts = outcomes()
    with capture_logs() as lines:
        try:
            raise RuntimeError("a bug")
        except RuntimeError:
            counted.fail(DELIVERY)
    assert counts == {(TRADE, "failed"): 1}
    assert [(line["event"], line["exc_info"], line["bytes"]) for line in lines] == [("delivery failed", True, 6)]
