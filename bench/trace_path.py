"""Measure the CPU that a trace adds to an event in a worker, without sockets, broker and Redis.

    python -m bench.trace_path

Prints CPU times in microseconds: a delivery to 1,000 clients before, during and after a trace of one of them, and a
message of a trace with 200 lines. Each is the median of many repetitions, so other programs hardly change it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from peatio_ws.cluster.commands import TraceCommand, TraceTarget, WorkerId
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.server.tracing.trace import LINES_AT_ONCE, Trace
from peatio_ws.server.tracing.watch import Budget, Watch
from peatio_ws.transport.decoder import FrameDecoder
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox, flush_all, put_all
from tests.unit.samples import Wire

CLIENTS, REPETITIONS = 1000, 400
FRAME = text_frame(
    b'{"btcusd.trades":{"trades":[{"tid":1,"taker_type":"buy","date":1,"price":"9120.5","amount":"1.5"}]}}'
)


class AcceptingWire(Wire):
    """A socket that accepts all data and discards it."""

    def take(self, data: bytes | memoryview) -> int:
        return len(data)


def start_trace(outbox: Outbox) -> tuple[Watch, Trace]:
    """Start a trace of the connection of an outbox."""
    inbox = SimpleNamespace(decoder=FrameDecoder(1000))
    ws = SimpleNamespace(id="c1", outbox=outbox, inbox=inbox, opened=time.monotonic())
    status = ConnectionStatus("ranger", False, 1, "ID1")
    connection: Any = SimpleNamespace(ws=ws, address="192.0.2.1", identity=None, streams=["order"], status=status)
    command = TraceCommand("0" * 16, TraceTarget(uid="ID1"), seconds=60)
    trace = Trace(command, WorkerId("host", "host:8080", 1), lambda *_: 1, lambda: None)
    watch = Watch(connection, "open", Budget())
    watch.introduce(trace, False)
    return watch, trace


def microseconds(function: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """Return the median CPU time of a function."""
    times = []
    for _ in range(repetitions):
        began = time.thread_time()
        function()
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1e6


def main() -> None:
    """Run the command."""
    outboxes: list[Any] = [Outbox(AcceptingWire(), 2**20, 10.0) for _ in range(CLIENTS)]  # type: ignore[arg-type]

    def deliver() -> None:
        touched: list[Outbox] = []
        put_all(FRAME, outboxes, touched)
        flush_all(touched)

    for _ in range(3):
        without = microseconds(deliver)
        watch, trace = start_trace(outboxes[CLIENTS // 2])
        traced = microseconds(deliver)
        lines = len(trace._lines) - 1
        sending = microseconds(trace._send, lines // LINES_AT_ONCE)
        watch.end()
        after = microseconds(deliver)
        print(
            f"a delivery to {CLIENTS} clients: {without:.0f} us untraced, {traced:.0f} us with one client traced "
            f"({lines} lines), {after:.0f} us after; a message of {LINES_AT_ONCE} lines: {sending:.0f} us"
        )


if __name__ == "__main__":
    main()
