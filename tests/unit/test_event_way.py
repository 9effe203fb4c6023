"""The path of an event: the modules that a private order passes, as in the document's diagram."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from amqp.serialization import dumps

import peatio_ws
from peatio_ws.amqp import frame_reader
from peatio_ws.amqp.history_stream.offset import ReaderState
from peatio_ws.amqp.history_stream.source import StreamSource
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import SharedState
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, settings, texts_in
from tests.unit.test_architecture import imported

PACKAGE = Path(peatio_ws.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"
MOST_FUNCTIONS = 40


class Worker:
    """A worker with one connected member. It reads the broker's bytes."""

    def __init__(self) -> None:
        self.ingest = BrokerIngest(settings(), SharedState(Revocations(0), Lockout(0)), WorkerCounters())
        self.ingest.on_broker("private", True)
        self.wire = Wire()
        receiver = Receiver(Outbox(self.wire, 2**30, 10.0), Dialect.CLASSIC)  # type: ignore[arg-type]
        receiver.admit("IDANN")
        self.ingest.router.go_live(receiver)
        private = self.ingest.private
        self._source = StreamSource("q", False, 60.0, private.on_delivery, private.on_gap)
        self._source._state = ReaderState.CURRENT
        end = frame_reader._FRAME_END << 24 | 1
        self._callbacks = {
            b"q": frame_reader.DeliveryCallback(1, end | 2 << 16, end | 3 << 16, self._source.on_delivery, True, True)
        }
        self._transport: Any = frame_reader._Buffered()
        self._transport.connected = True

    def read(self, data: bytes) -> None:
        self._transport._buffer, self._transport._position = data, 0
        self._transport.dispatch(self._callbacks, lambda _frame: None)
        self.ingest.router.batch.flush()


def order(offset: int) -> bytes:
    """Return a delivery of the history stream as RabbitMQ sends it (AMQP 0-9-1 sections 2.3.5 and 4.2)."""
    body = json.dumps({"id": offset, "side": "buy", "price": "1.0", "origin_volume": "1.0", "state": "wait"}).encode()
    exchange = b"peatio.orderbook"
    method = struct.pack(">HHB", 60, 60, 1) + b"q" + struct.pack(">QBB", offset, 0, len(exchange)) + exchange + b"\0"
    headers = dumps("F", [{"uid": "IDANN"}])[4:] + b"\x0fx-stream-offsetl" + struct.pack(">Q", offset)
    header = struct.pack(">HHQHI", 60, 0, len(body), 0x2000, len(headers)) + headers
    return b"".join(
        struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"
        for kind, payload in ((1, method), (2, header), (3, body))
    )


def trace(worker: Worker, data: bytes) -> list[tuple[CodeType | None, CodeType]]:
    """Return the calls within the package while the worker reads these bytes, as pairs of caller and callee."""
    calls: list[tuple[CodeType | None, CodeType]] = []

    def is_ours(frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code.co_filename.startswith(f"{PACKAGE}/")

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and is_ours(frame):
            caller = frame.f_back
            calls.append((caller.f_code if caller is not None and is_ours(caller) else None, frame.f_code))

    sys.setprofile(profile)
    try:
        worker.read(data)
    finally:
        sys.setprofile(None)
    return calls


def module(code: CodeType) -> str:
    return str(Path(code.co_filename).relative_to(PACKAGE))


@pytest.fixture
def calls() -> list[tuple[CodeType | None, CodeType]]:
    worker = Worker()
    worker.read(order(1))  # warm-up: fills caches
    worker.wire.taken = b""
    found = trace(worker, order(2))
    assert [frame["orderbook"]["id"] for frame in texts_in(worker.wire.taken)] == [2]
    return found


def test_document_names_the_modules_of_an_order_in_their_order(calls: list[tuple[CodeType | None, CodeType]]) -> None:
    passed = list(dict.fromkeys(module(code) for _, code in calls))
    way = DOCUMENT.read_text().partition("## Events")[2].partition("Other events differ")[0].partition("1. ")[2]
    assert re.findall(r"`((?:\w+/)+\w+\.py)`", way) == passed


def test_order_passes_few_functions(calls: list[tuple[CodeType | None, CodeType]]) -> None:
    assert len({code for _, code in calls}) <= MOST_FUNCTIONS


def test_no_module_calls_a_private_function_of_a_module_that_imports_it(
    calls: list[tuple[CodeType | None, CodeType]],
) -> None:
    climbs = [
        (caller.co_qualname, callee.co_qualname)
        for caller, callee in calls
        if caller is not None and is_above(module(callee), module(caller)) and callee.co_name.startswith("_")
    ]
    assert climbs == []


def is_above(upper: str, lower: str) -> bool:
    """Return whether a module imports another one."""
    name = f"peatio_ws.{lower.removesuffix('.py').replace('/', '.')}"
    names = imported(upper.removesuffix(".py").replace("/", "."))
    return any(found == name or found.startswith(f"{name}.") for found in names)
