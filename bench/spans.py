"""Measure the CPU that OpenTelemetry's spans add to an event in a worker, without sockets, broker and exporter.

    python -m bench.spans

Prints the CPU time of an order of a connected member in microseconds, the median of many batches. First without an SDK,
then with an SDK for deliveries without a trace context, with a context that is not sampled, and with a sampled one.
`python -m bench.spans --off` prints only the first. For comparison, it also runs in checkouts without spans.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, on_orderbook, settings

BATCHES, EVENTS = 2000, 20
ORDER = {"id": 1, "side": "sell", "price": "9120.5", "state": "wait", "market_id": "btcusd"}


class AcceptingWire(Wire):
    """A socket that accepts all data and discards it."""

    def take(self, data: bytes | memoryview) -> int:
        return len(data)


def microseconds(headers: dict[str, str]) -> float:
    """Return the CPU time of an event with these headers."""
    ingest = BrokerIngest(settings(AMQP_HISTORY="off"), SharedState(Revocations(0), Lockout(0)), WorkerCounters())
    flush: Any = ingest.router.batch.flush
    if hasattr(ingest, "_use_spans"):
        ingest._use_spans()
        flush = ingest.private.spans.flush if ingest.private.spans is not None else flush
    receiver = Receiver(Outbox(AcceptingWire(), 2**20, 10.0), Dialect.CLASSIC)  # type: ignore[arg-type]
    receiver.admit("IDANN")
    ingest.router.go_live(receiver)
    ingest.private.on_read_back(False)
    delivery: Delivery = on_orderbook(ORDER, uid="IDANN", **headers)
    times = []
    for _ in range(BATCHES):
        began = time.thread_time()
        for _ in range(EVENTS):
            ingest.private.on_delivery(delivery)
        flush()
        times.append(time.thread_time() - began)
    return statistics.median(times) / EVENTS * 1e6


def main() -> None:
    """Run the command."""
    off = microseconds({})
    print(f"off: {off:.2f} us")
    if "--off" in sys.argv:
        return
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
    for what, headers in (
        ("without a context", {}),
        ("not sampled", {"traceparent": f"{context}0"}),
        ("sampled", {"traceparent": f"{context}1"}),
    ):
        took = microseconds(headers)
        print(f"on, {what}: {took:.2f} us, {took / off:.2f} times off")


if __name__ == "__main__":
    main()
