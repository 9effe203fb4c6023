"""`trace`: what it sends, what it prints, and how it ends."""

from __future__ import annotations

import json

import msgspec
import pytest
import redis

from peatio_ws.cli.operator.operator_command import NO_GATEWAY
from peatio_ws.cluster.commands import TraceCommand, TraceTarget, WorkerId
from peatio_ws.cluster.tracing import reader
from peatio_ws.cluster.tracing.messages import TraceMessage, line
from tests.unit.cli.calling import call, fails
from tests.unit.steered_workers import SteeredWorkers

DELIVERED = line("delivered", 0.0, connection="c1", stream="btcusd.trades", bytes=32, waiting=0)


def report(workers: SteeredWorkers, *lines: object) -> None:
    """Let a worker report these lines, and the user then press Ctrl-C."""
    place = workers.add("web1:8080")
    assert isinstance(place, WorkerId)
    raw = [msgspec.Raw(msgspec.json.encode(one)) for one in lines]
    workers.reports += [msgspec.json.encode(TraceMessage(place, "r", 0, raw)), KeyboardInterrupt()]


def test_lines_are_printed_until_ctrl_c(workers: SteeredWorkers) -> None:
    report(workers, DELIVERED)
    result = call("trace ANN")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "tracing for 600 s on 1 worker of 1 gateway",
        "1970-01-01T00:00:00.000Z web1:8080/1 c1 delivered     stream=btcusd.trades bytes=32 waiting=0",
    ]
    assert result.stderr == "stopped; 1 line, 0 left out\n"
    last = workers.received[-1]
    assert isinstance(last, TraceCommand)
    assert last.seconds == 0, "the workers have to end the trace, too"


def test_json_has_an_object_for_each_line(workers: SteeredWorkers) -> None:
    report(workers, DELIVERED, line("omitted", 0.0, lines=12))
    result = call("trace ANN --json --seconds 5.5 --bodies")
    begin, delivered, omitted, end = [json.loads(text) for text in result.stdout.splitlines()]
    assert (begin["kind"], begin["seconds"], begin["bodies"]) == ("begin", 5.5, True)
    assert delivered == {**DELIVERED, "gateway": "web1:8080", "worker": 1}
    assert omitted["lines"] == 12
    assert (end["kind"], end["reason"], end["lines"], end["omitted"]) == ("end", "stopped", 1, 12)
    assert result.stderr == "stopped; 1 line, 12 left out\n"


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("ANN", TraceTarget(uid="ANN")),
        ("--address 192.0.2.1", TraceTarget(address="192.0.2.1")),
        ("--address ::ffff:192.0.2.1", TraceTarget(address="192.0.2.1")),
        ("--address [2001:DB8:0::1]", TraceTarget(address="2001:db8::1")),
        ("--connection 0123456789ab", TraceTarget(connection="0123456789ab")),
    ],
)
def test_target_is_a_member_an_address_or_a_connection(
    workers: SteeredWorkers, words: str, target: TraceTarget
) -> None:
    report(workers)
    assert call(f"trace {words}").exit_code == 0
    command = workers.received[0]
    assert isinstance(command, TraceCommand)
    assert command.target == target


@pytest.mark.parametrize("words", ["", "ANN --address 192.0.2.1", "ANN --connection c1", "--address nowhere"])
def test_other_targets_are_refused(workers: SteeredWorkers, words: str) -> None:
    assert fails(f"trace {words}", status=2)
    assert workers.received == []


def test_without_a_gateway_there_is_nothing_to_trace(workers: SteeredWorkers) -> None:
    result = call("trace ANN")
    assert (result.exit_code, result.stderr) == (NO_GATEWAY, "no gateway received it\n")


def test_without_redis_the_error_says_what_to_set() -> None:
    assert "REDIS_URL is not set" in fails("trace ANN", REDIS_URL="")


def test_redis_that_is_down_is_an_error(workers: SteeredWorkers) -> None:
    workers.error = redis.ConnectionError("refused")
    assert "did not accept the command: refused" in fails("trace ANN")


def test_redis_that_is_lost_is_an_error(workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(reader, "RETRY_SECONDS", 0.001)
    workers.add()
    workers.reports += [redis.ConnectionError("gone")] * 10
    result = call("trace ANN")
    assert (result.exit_code, result.stderr) == (1, "Redis is unreachable: gone; 0 lines, 0 left out\n")


def test_workers_that_cannot_trace_are_an_error(workers: SteeredWorkers) -> None:
    workers.add(meant=False)
    assert "each worker has 8 traces already" in fails("trace ANN")
