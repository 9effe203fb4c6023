"""An operator's connection to the workers: what it sends, which answers it collects, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import commands
from peatio_ws.cluster import operator as steering
from peatio_ws.cluster.commands import (
    Answer,
    CancelCommand,
    ClosesCommand,
    TraceCommand,
    TraceTarget,
    WhoCommand,
    WorkerId,
)
from peatio_ws.cluster.operator import NotFound, Operator, TooManyTraces, connected, redis_url
from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring.worker_reports import MemberConnection
from tests.unit.steered_workers import SteeredWorkers

PLACE, OTHER = WorkerId("host", "host:8080", 1), WorkerId("host", "host:8080", 2)
ANN = MemberConnection("ANN", "c1", "classic", "203.0.113.7", 0.0)
BOB = MemberConnection("BOB", "c2", "ranger", "203.0.113.8", 0.0)


@pytest.fixture
def operator(workers: SteeredWorkers) -> Iterator[Operator]:
    made = Operator("redis://localhost")
    yield made
    made.close()
    assert workers.closed


def test_a_command_reaches_every_worker_and_collects_its_answers(operator: Operator, workers: SteeredWorkers) -> None:
    for connections in (2, 3):
        workers.add(connections=connections)
    result = operator.who()
    assert [type(command) for command in workers.received] == [WhoCommand]
    assert (result.workers, result.connections, result.silent, len(result.meant)) == (2, 5, 0, 2)
    assert workers.lists == {}, "the list of answers was not deleted"
    operator.closes()
    assert [type(command) for command in workers.received] == [WhoCommand, ClosesCommand]


def test_a_worker_may_answer_in_several_parts(operator: Operator, workers: SteeredWorkers) -> None:
    parts = [Answer(PLACE, 1, members=[ANN], last=False), Answer(PLACE, 1, members=[BOB])]
    workers.workers.append(lambda _: parts)
    result = operator.who()
    assert result.members == [ANN, BOB]
    assert result.places == {"c1": PLACE, "c2": PLACE}
    assert result.answers == parts[1:]


def test_workers_without_an_answer_are_counted(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add()
    workers.add_silent()
    result = operator.who()
    assert (result.workers, result.silent) == (2, 1)


def test_answers_that_cannot_be_read_are_skipped(
    operator: Operator, workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.add()
    monkeypatch.setattr(workers, "blpop", iter([("k", b"{"), ("k", commands.encode(Answer(OTHER, 4)))]).__next__)
    pop = workers.blpop
    monkeypatch.setattr(workers, "blpop", lambda *_: pop())  # type: ignore[call-arg]
    assert operator.who().answers == [Answer(OTHER, 4)]


@pytest.mark.parametrize("request_name", ["blpop", "delete"])
def test_redis_that_is_lost_after_the_command_leaves_workers_silent(
    operator: Operator, workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch, request_name: str
) -> None:
    """The command was carried out: it must not be reported as refused."""

    def fail(*_: object) -> None:
        raise redis.TimeoutError("Timeout reading from socket")

    workers.add()
    monkeypatch.setattr(workers, request_name, fail)
    result = operator.disconnect("ANN", revoke=True)
    assert (result.workers, result.silent) == (1, int(request_name == "blpop"))
    assert len(result.revocations) == len(workers.revocations) == len(workers.received) == 1


def test_worker_that_is_not_addressed_counts_as_answered(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add(connections=0, meant=False)
    result = operator.who()
    assert (result.silent, result.meant) == (0, [])


def test_every_question_has_a_different_name() -> None:
    assert steering._new_question() != steering._new_question()


@pytest.mark.parametrize("uid", ["", "x" * 257])
def test_a_command_that_no_worker_understands_is_not_sent(
    operator: Operator, workers: SteeredWorkers, uid: str
) -> None:
    with pytest.raises(ValueError, match="1 to 256 characters"):
        operator.disconnect(uid)
    assert workers.received == []


# ---- traces


def test_a_trace_begins_on_all_workers(operator: Operator, workers: SteeredWorkers) -> None:
    for _ in range(2):
        workers.add()
    workers.add("full:8080", meant=False)
    result, reader = operator.trace(TraceTarget(uid="ANN"), 600, bodies=True)
    (command,) = workers.received
    assert isinstance(command, TraceCommand)
    assert (command.target, command.bodies) == (TraceTarget(uid="ANN"), True)
    assert workers.subscribed == f"peatio_ws:traces:{command.question}"
    assert len(result.answers) == 3
    assert next(reader.lines())["received_by"] == {"workers": 2, "gateways": 1, "silent": 0}
    reader.close()
    last = workers.received[-1]
    assert isinstance(last, TraceCommand)
    assert (last.question, last.seconds) == (command.question, 0)


def test_a_trace_that_no_worker_can_begin_is_an_error(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add(meant=False)
    with pytest.raises(TooManyTraces, match="each worker has 8 traces"):
        operator.trace(TraceTarget(uid="ANN"), 600)


@pytest.mark.parametrize(("target", "seconds"), [(TraceTarget(uid=""), 600), (TraceTarget(uid="ANN"), 3601)])
def test_an_invalid_trace_is_not_sent(
    operator: Operator, workers: SteeredWorkers, target: TraceTarget, seconds: float
) -> None:
    with pytest.raises(ValueError):
        operator.trace(target, seconds)
    assert workers.received == []


# ---- revocations


def test_a_revocation_is_kept_with_its_command(operator: Operator, workers: SteeredWorkers) -> None:
    (revoked,) = operator.disconnect("ANN", revoke=True, keep=3600).revocations
    assert workers.revocations == {commands.encode(revoked): revoked.until}


def test_expired_revocations_do_not_count_towards_the_limit(
    operator: Operator, workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "REVOCATIONS_KEPT", 2)
    workers.revocations = {b"expired": time.time() - 3600, b"counts": time.time() + 3600}
    operator.disconnect("ANN", revoke=True)
    with pytest.raises(ValueError, match="nothing was done"):
        operator.disconnect("BOB", revoke=True)
    assert len(workers.revocations) == 2


def test_revocations_are_listed_by_member(operator: Operator, workers: SteeredWorkers) -> None:
    operator.disconnect("BOB", revoke=True)
    operator.disconnect("ANN", "b", revoke=True)
    operator.disconnect("ANN", revoke=True)
    workers.revocations[b"not a revocation"] = time.time() + 60
    assert [(one.uid, one.jti) for one in operator.revocations()] == [("ANN", None), ("ANN", "b"), ("BOB", None)]


@pytest.mark.parametrize(
    ("name", "left"), [("ANN", [("ANN", "b"), ("BOB", None)]), ("b", [("ANN", None), ("BOB", None)])]
)
def test_revocations_are_taken_back_by_member_or_token(
    operator: Operator, workers: SteeredWorkers, name: str, left: list[tuple[str, str | None]]
) -> None:
    workers.add()
    for uid, jti in (("ANN", "b"), ("ANN", None), ("BOB", None)):
        operator.disconnect(uid, jti, revoke=True)
    result = operator.cancel_revocations(name)
    (taken,) = result.revocations
    command = workers.received[-1]
    assert isinstance(command, CancelCommand)
    assert command.revoked == taken
    assert list(workers.cancelled) == [commands.encode(taken)]
    assert [(one.uid, one.jti) for one in operator.revocations()] == left
    assert len(workers.revocations) == 2, "the row was not removed"
    # A worker that was cut off stores it again.
    workers.revocations[commands.encode(taken)] = taken.until
    assert [(one.uid, one.jti) for one in operator.revocations()] == left
    with pytest.raises(NotFound, match=f"no revocation of {name}"):
        operator.cancel_revocations(name)


def test_repeated_revocations_of_a_member_are_taken_back_together(operator: Operator, workers: SteeredWorkers) -> None:
    for days in (1, 30, 2):
        operator.disconnect("ANN", revoke=True, keep=days * steering.DAY)
    assert len(operator.revocations()) == 1
    operator.cancel_revocations("ANN")
    assert workers.revocations == {}
    assert operator.revocations() == []


@pytest.mark.parametrize("jti", [None, "b"])
def test_revocation_counts_after_an_undo_from_a_host_whose_clock_is_ahead(
    operator: Operator, workers: SteeredWorkers, jti: str | None
) -> None:
    until = time.time() + 3600
    workers.cancelled[commands.encode(Revocation("ANN", until, jti, issued=time.time() + 60))] = until
    (revoked,) = operator.disconnect("ANN", jti, revoke=True).revocations
    assert operator.revocations() == [revoked]


# ---- gateways and failures


def test_unknown_gateway_is_an_error(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add(meant=False)
    with pytest.raises(NotFound, match="no gateway is called web9; the gateways are: host:8080"):
        operator.drain("web9")


def test_failure_of_redis_names_it_without_a_password(workers: SteeredWorkers) -> None:
    workers.error = TimeoutError("no answer")
    with pytest.raises(ConnectionError) as failed, connected("redis://:secret@web1:6380/0") as operator:
        operator.revocations()
    assert str(failed.value) == "Redis at web1:6380 (REDIS_URL) did not accept the command: no answer"
    assert workers.closed


# ---- REDIS_URL


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({}, "REDIS_URL is not set"),
        ({"REDIS_URL": " "}, "REDIS_URL is not set"),
        ({"REDIS_URL": "http://host"}, "REDIS_URL"),
        ({"REDIS_URL": "rediss://host", "REDIS_CA_FILE": "/missing.pem"}, "REDIS_CA_FILE"),
    ],
)
def test_wrong_redis_url_is_reported(environ: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        redis_url(environ)


def test_other_variables_may_be_invalid() -> None:
    environ = {"REDIS_URL": "redis://host:7/1", "AMQP_URL": "wrong", "WEBSOCKET_PORT": "wrong"}
    assert redis_url(environ) == "redis://host:7/1"
