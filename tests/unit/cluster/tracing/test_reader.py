"""The reader of a trace: nothing twice, what is missing is counted, and the workers hear when it ends.

Redis is a stand-in with a clock of its own; the real one is tested in `tests/live/test_trace.py`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from peatio_ws.cluster.commands import Answer, TraceCommand, TraceTarget, WorkerId, read_command
from peatio_ws.cluster.tracing import reader as module
from peatio_ws.cluster.tracing.messages import LEASE_SECONDS, RENEW_SECONDS, TraceMessage
from peatio_ws.cluster.tracing.reader import TraceReader

PLACE, OTHER = WorkerId("a", "a:8080", 1), WorkerId("b", "b:8080", 2)
COMMAND = TraceCommand("0123456789abcdef", TraceTarget(uid="ANN"))


class FakeRedis:
    """Redis, with the messages that will come. Time passes only while the reader waits.

    Attributes:
        now: monotonic time.
        coming: messages, and errors to raise; when there is none, time passes.
        sent: the commands that the reader has published.
        subscribed: how many listeners have subscribed.
        moved: whether Sentinel names another primary.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.coming: deque[TraceMessage | Exception | Callable[[], None]] = deque()
        self.sent: list[TraceCommand] = []
        self.subscribed = self.dropped = 0
        self.moved = False
        self.down: Exception | None = None
        self.connection_pool = self

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now

    # ---- the part of redis-py that the reader uses

    def pubsub(self, ignore_subscribe_messages: bool) -> FakeRedis:
        assert ignore_subscribe_messages
        return self

    def subscribe(self, channel: str) -> None:
        assert channel == f"peatio_ws:traces:{COMMAND.question}"
        self._fail()
        self.subscribed += 1
        self.coming.appendleft(lambda: None)  # the confirmation

    def get_message(self, timeout: float) -> dict[str, bytes] | None:
        self._fail()
        while self.coming:
            one = self.coming.popleft()
            if isinstance(one, Exception):
                raise one
            if isinstance(one, TraceMessage):
                return {"data": msgspec.json.encode(one)}
            one()
            return None
        self.now += timeout
        return None

    def close(self) -> None: ...

    def publish(self, _channel: str, message: bytes) -> None:
        self._fail()
        command = read_command(message)
        assert isinstance(command, TraceCommand)
        self.sent.append(command)

    def has_moved(self) -> bool:
        moved, self.moved = self.moved, False
        return moved

    def drop(self) -> None:
        self.dropped += 1

    def _fail(self) -> None:
        if self.down is not None:
            raise self.down


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    made = FakeRedis()
    monkeypatch.setattr(module, "time", made)
    return made


def reader_on(server: FakeRedis, *places: WorkerId, seconds: float = 10.0) -> TraceReader:
    reader = TraceReader(server, COMMAND, seconds)  # type: ignore[arg-type]
    reader.begin([Answer(place, 1) for place in places], 1)
    return reader


def message(first: int, *numbers: int, place: WorkerId = PLACE, run: str = "r", last: bool = False) -> TraceMessage:
    lines = [{"kind": "test", "at": "t", "number": number} for number in numbers]
    return TraceMessage(place, run, first, [msgspec.Raw(json.dumps(line).encode()) for line in lines], last)


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [line["number"] for line in lines if line["kind"] == "test"]


def kinds(lines: list[dict[str, Any]]) -> list[str]:
    return [line["kind"] for line in lines if line["kind"] != "alive"]


def test_lines_are_read_between_the_first_and_the_last(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, OTHER)
    server.coming += [message(0, 1, 2), message(0, 3, place=OTHER)]
    first, *lines, last = list(reader.lines())
    assert first == {
        "kind": "begin",
        "at": "1970-01-01T00:16:40.000Z",
        "target": {"uid": "ANN"},
        "seconds": 10.0,
        "bodies": False,
        "received_by": {"workers": 2, "gateways": 2, "silent": 1},
    }
    assert list(lines[0].items()) == [
        ("kind", "test"), ("at", "t"), ("gateway", "a:8080"), ("worker", 1), ("number", 1)
    ]  # fmt: skip
    assert numbers(lines) == [1, 2, 3]
    assert {name: last[name] for name in ("kind", "reason", "text", "lines", "omitted")} == {
        "kind": "end", "reason": "time", "text": "10 s have passed", "lines": 3, "omitted": 0
    }  # fmt: skip


def test_repeated_lines_are_dropped_and_missing_ones_counted(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    server.coming += [message(0, 0, 1), message(0, 0, 1), message(1, 1, 2), message(5, 5)]
    lines = list(reader.lines())
    assert numbers(lines) == [0, 1, 2, 5]
    assert [line["lines"] for line in lines if line["kind"] == "omitted"] == [2]
    assert reader.omitted == 2


def test_omitted_lines_of_a_worker_are_added_up(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    line = msgspec.Raw(b'{"kind":"omitted","at":"t","lines":12}')
    server.coming += [TraceMessage(PLACE, "r", 0, [line, msgspec.Raw(b'{"kind":"omitted","at":"t","connections":3}')])]
    last = list(reader.lines())[-1]
    assert (last["lines"], last["omitted"]) == (0, 12)


def test_worker_that_traces_from_scratch_begins_at_zero(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    server.coming += [message(0, 0, 1), message(0, 10, 11, run="new")]
    assert numbers(list(reader.lines())) == [0, 1, 10, 11]
    assert reader.omitted == 0


def test_workers_that_join_and_fall_silent_are_shown(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, seconds=60)
    server.coming += [message(0, 1, place=OTHER)]
    shown = [(line["status"], line["gateway"], line["worker"]) for line in reader.lines() if line["kind"] == "worker"]
    assert shown == [("joined", "b:8080", 2), ("lost", "a:8080", 1), ("lost", "b:8080", 2)]


def test_silent_worker_that_returns_joins_again(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, seconds=60)
    lines = reader.lines()
    for line in lines:
        if line["kind"] == "worker":
            server.coming.append(message(4, 4))
            break
    assert kinds(list(lines))[:3] == ["worker", "omitted", "test"]


def test_command_is_repeated_and_ended(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, seconds=30)
    list(reader.lines())
    seconds = [command.seconds for command in server.sent]
    assert len(seconds) == 30 / RENEW_SECONDS
    assert seconds[0] == LEASE_SECONDS
    assert seconds[-2] < LEASE_SECONDS, "workers would go on after the end"
    assert seconds[-1] == 0
    assert {(command.question, command.target) for command in server.sent} == {(COMMAND.question, COMMAND.target)}


def test_quiet_trace_shows_that_it_lives(server: FakeRedis) -> None:
    times = [line["at"] for line in reader_on(server, seconds=31).lines() if line["kind"] == "alive"]
    assert len(times) >= 5


def test_last_lines_of_all_workers_are_awaited(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, OTHER)
    ended = [message(0, 1, last=True), message(0, 2, place=OTHER), message(1, 3, place=OTHER, last=True)]

    def end() -> None:
        server.now += 10
        server.coming += ended

    server.coming.append(end)
    lines = list(reader.lines())
    assert numbers(lines) == [1, 2, 3]
    assert kinds(lines) == ["begin", "test", "test", "test", "end"]
    assert server.now == 1010, "it waited although all workers have ended the trace"


def test_lost_connection_is_replaced_without_a_lost_line(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    server.coming += [message(0, 0), redis.ConnectionError("gone"), message(0, 0, 1)]
    lines = list(reader.lines())
    assert numbers(lines) == [0, 1]
    assert server.subscribed == 2
    assert lines[-1]["reason"] == "time"


def test_trace_without_redis_ends_when_the_workers_do(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE, seconds=600)
    server.down = redis.ConnectionError("refused")
    last = list(reader.lines())[-1]
    assert (last["reason"], last["text"]) == ("redis", "Redis is unreachable: refused")
    assert LEASE_SECONDS < server.now - 1000 < 2 * LEASE_SECONDS
    reader.close()


def test_trace_follows_the_primary(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    server.moved = True
    list(reader.lines())
    assert (server.dropped, server.subscribed) == (1, 2)


def test_closing_ends_the_trace_on_the_workers_and_is_idempotent(server: FakeRedis) -> None:
    reader = reader_on(server, PLACE)
    lines = reader.lines()
    next(lines)
    reader.close()
    reader.close()
    assert [command.seconds for command in server.sent] == [0, 0]
    assert kinds(list(lines))[-1] == "end"


def test_anything_else_on_the_channel_is_ignored(server: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reader_on(server, PLACE)
    found = iter([{"data": b"nonsense"}, {"data": b"{}"}])
    get = server.get_message
    monkeypatch.setattr(server, "get_message", lambda timeout: next(found, None) or get(timeout))
    assert kinds(list(reader.lines())) == ["begin", "end"]


def test_redis_that_is_down_at_first_is_an_error(server: FakeRedis) -> None:
    server.down = redis.ConnectionError("refused")
    with pytest.raises(redis.ConnectionError):
        reader_on(server)
