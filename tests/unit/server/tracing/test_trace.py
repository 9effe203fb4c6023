"""The queue of one trace: bounded, in order, complete or with the number of lines that are missing."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from peatio_ws.cluster.commands import TraceCommand, TraceTarget, WorkerId
from peatio_ws.cluster.tracing import messages
from peatio_ws.cluster.tracing.messages import TraceMessage, read_message
from peatio_ws.server.tracing import trace as module
from peatio_ws.server.tracing.trace import LINES_AT_ONCE, MOST_LINES, Trace

PLACE = WorkerId("host", "host:8080", 1)
COMMAND = TraceCommand("0123456789abcdef", TraceTarget(uid="ANN"), seconds=60)


class Channel:
    """What was published.

    Attributes:
        receivers: how many receive a message; None while Redis is unreachable.
    """

    def __init__(self) -> None:
        self.messages: list[TraceMessage] = []
        self.receivers: int | None = 1
        self.attempts = 0

    def publish(self, channel: str, message: bytes) -> int | None:
        assert channel == f"peatio_ws:traces:{COMMAND.question}"
        self.attempts += 1
        if self.receivers:
            read = read_message(message)
            assert read is not None
            self.messages.append(read)
        return self.receivers

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(bytes(line)) for message in self.messages for line in message.lines]

    def numbers(self) -> list[int]:
        return [line["number"] for line in self.lines() if line["kind"] == "test"]


@pytest.fixture
def channel() -> Channel:
    return Channel()


def trace_on(channel: Channel, command: TraceCommand = COMMAND) -> Trace:
    return Trace(command, PLACE, channel.publish, lambda: None)


def add(trace: Trace, first: int, count: int, size: int = 300) -> None:
    for number in range(first, first + count):
        trace.add(messages.line("test", 0.0, number=number), size)


def test_lines_are_published_in_order_and_in_parts(channel: Channel) -> None:
    trace = trace_on(channel)
    add(trace, 0, LINES_AT_ONCE + 1)
    trace.close()
    assert channel.numbers() == list(range(LINES_AT_ONCE + 1))
    assert [message.first for message in channel.messages] == [0, LINES_AT_ONCE, LINES_AT_ONCE + 1]
    assert [message.last for message in channel.messages] == [False, False, True]
    assert len({message.run for message in channel.messages}) == 1


def test_messages_with_bodies_are_smaller(channel: Channel) -> None:
    trace = trace_on(channel)
    add(trace, 0, 3, size=200_000)
    trace.close()
    assert [len(message.lines) for message in channel.messages] == [2, 1, 0]


def test_lines_that_do_not_fit_are_counted_and_said_once_there_is_room(channel: Channel) -> None:
    trace = trace_on(channel)
    add(trace, 0, MOST_LINES + 12)
    assert trace.full
    while trace.full:
        assert trace._send()
    assert len(channel.lines()) == MOST_LINES // 2
    add(trace, 10_000, 1)
    trace.close()
    assert channel.numbers() == [*range(MOST_LINES), 10_000]
    (omitted,) = [line for line in channel.lines() if line["kind"] == "omitted"]
    assert (omitted["lines"], trace.omitted) == (12, 12)
    assert channel.lines().index(omitted) == MOST_LINES, "it has to be where the lines are missing"


def test_large_bodies_fill_the_queue_too(channel: Channel) -> None:
    trace = trace_on(channel)
    add(trace, 0, 100, size=16_384)
    assert trace.full
    trace.close()
    assert len(channel.numbers()) == 64
    assert channel.lines()[-1]["lines"] == 36


def test_connections_that_are_not_shown_are_said_once(channel: Channel) -> None:
    trace = trace_on(channel)
    for _ in range(3):
        trace.omit(connections=1)
    trace.omit(lines=2)
    trace.close()
    assert [{**line, "at": ""} for line in channel.lines()] == [
        {"kind": "omitted", "at": "", "connections": 3, "lines": 2}
    ]


@pytest.mark.parametrize("receivers", [0, None])
def test_lines_wait_until_somebody_receives_them(
    channel: Channel, receivers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    channel.receivers = receivers
    trace = trace_on(channel)
    add(trace, 0, 5)
    running = gevent.spawn(trace.run)
    with gevent.Timeout(10):
        while channel.attempts < 3:
            gevent.sleep(0.001)
        channel.receivers = 1
        while len(channel.numbers()) < 5:
            gevent.sleep(0.001)
        trace.renew(0)
        running.join()
    assert channel.numbers() == [0, 1, 2, 3, 4]
    assert channel.messages[0].first == 0


def test_trace_ends_without_another_command(channel: Channel) -> None:
    trace = trace_on(channel, TraceCommand(COMMAND.question, COMMAND.target, seconds=0.01))
    with gevent.Timeout(10):
        trace.run()


def test_quiet_trace_shows_that_it_lives(channel: Channel) -> None:
    trace = trace_on(channel)
    assert [trace._send() for _ in range(3)] == [True] * 3
    assert [message.lines for message in channel.messages] == [[]]


def test_end_without_a_reader_does_not_wait(channel: Channel) -> None:
    channel.receivers = 0
    trace = trace_on(channel)
    add(trace, 0, MOST_LINES)
    trace.close()
    assert channel.attempts <= 2
