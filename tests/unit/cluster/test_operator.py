"""An operator's connection to the workers: what it sends, which answers it collects, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from peatio_ws.auth.revocations import REVOCATIONS_KEPT, Revocation
from peatio_ws.cluster import commands
from peatio_ws.cluster.commands import Answer, DisconnectCommand, MemberConnection, WhoCommand, WorkerId
from peatio_ws.cluster.operator import Operator, new_question, redis_url
from peatio_ws.errors import ConfigurationError
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
    command = WhoCommand(new_question())
    result = operator.send(command)
    assert workers.received == [command]
    assert (result.workers, result.connections, result.silent, len(result.meant)) == (2, 5, 0, 2)
    assert workers.lists == {}, "the list of answers was not deleted"


def test_a_worker_may_answer_in_several_parts(operator: Operator, workers: SteeredWorkers) -> None:
    parts = [Answer(PLACE, 1, members=[ANN], last=False), Answer(PLACE, 1, members=[BOB])]
    workers.workers.append(lambda _: parts)
    result = operator.send(WhoCommand(new_question()))
    assert result.members == [ANN, BOB]
    assert result.places == {"c1": PLACE, "c2": PLACE}
    assert result.answers == parts[1:]


def test_workers_without_an_answer_are_counted(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add()
    workers.add_silent()
    result = operator.send(WhoCommand(new_question()))
    assert (result.workers, result.silent) == (2, 1)


def test_answers_that_cannot_be_read_are_skipped(
    operator: Operator, workers: SteeredWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.add()
    question = new_question()
    monkeypatch.setattr(workers, "blpop", iter([("k", b"{"), ("k", commands.encode(Answer(OTHER, 4)))]).__next__)
    pop = workers.blpop
    monkeypatch.setattr(workers, "blpop", lambda *_: pop())  # type: ignore[call-arg]
    assert operator.send(WhoCommand(question)).answers == [Answer(OTHER, 4)]


def test_worker_that_is_not_addressed_counts_as_answered(operator: Operator, workers: SteeredWorkers) -> None:
    workers.add(connections=0, meant=False)
    result = operator.send(WhoCommand(new_question()))
    assert (result.silent, result.meant) == (0, [])


def test_every_question_has_a_different_name() -> None:
    assert new_question() != new_question()


@pytest.mark.parametrize("uid", ["", "x" * 257])
def test_a_command_that_no_worker_understands_is_not_sent(
    operator: Operator, workers: SteeredWorkers, uid: str
) -> None:
    with pytest.raises(ValueError, match="1 to 256 characters"):
        operator.send(DisconnectCommand(new_question(), uid))
    assert workers.received == []


# ---- revocations


def test_a_revocation_is_kept_with_its_command(operator: Operator, workers: SteeredWorkers) -> None:
    revoked = Revocation("ANN", time.time() + 3600)
    operator.send(DisconnectCommand(new_question(), "ANN", revoked=revoked), revoked)
    assert workers.revocations == {commands.encode(revoked): revoked.until}


def test_expired_revocations_do_not_count_towards_the_limit(operator: Operator, workers: SteeredWorkers) -> None:
    workers.revocations = {b"expired": time.time() - 3600, b"counts": time.time() + 3600}
    assert operator.revocations_left() == REVOCATIONS_KEPT - 1


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
