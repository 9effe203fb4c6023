"""Operations tried on a model of a broker: within a time limit, and with the codes of refusals."""

from __future__ import annotations

from typing import Any

import pytest
from amqp.exceptions import AccessRefused, AMQPError, MessageNacked, NotFound

from peatio_ws.cli.check import broker_probe
from peatio_ws.cli.check.broker_probe import Probe
from peatio_ws.cli.check.broker_remedies import Operation
from tests.unit.cli.check.broker_model import Broker


@pytest.fixture
def server() -> Broker:
    return Broker()


@pytest.fixture
def probe(server: Broker) -> Probe:
    made = Probe(server.establish)
    made.connect()
    return made


def test_an_allowed_operation_returns_nothing(probe: Probe) -> None:
    assert probe.attempt(Operation.LOOK, lambda channel: channel.queue_declare("history", passive=True)) is None


def fail(error: Exception) -> Any:
    def action(_channel: Any) -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"), [(NotFound("x"), 404), (AccessRefused("x"), 403), (MessageNacked("x"), None)]
)
def test_refusal_has_the_code_of_the_answer(probe: Probe, error: Exception, code: int | None) -> None:
    refusal = probe.attempt(Operation.BIND, fail(error))
    assert refusal is not None
    assert (refusal.operation, refusal.code) == (Operation.BIND, code)


def test_refusal_names_the_current_step(probe: Probe) -> None:
    def action(_channel: Any) -> None:
        probe.operation = Operation.READ
        raise AccessRefused

    refusal = probe.attempt(Operation.CONSUME, action)
    assert refusal is not None
    assert refusal.operation is Operation.READ


def test_error_without_a_code_is_raised(probe: Probe) -> None:
    error = AMQPError("the connection is lost")
    error.reply_code = 0
    with pytest.raises(AMQPError):
        probe.attempt(Operation.LOOK, fail(error))


def test_next_probe_after_a_timeout_uses_another_connection(
    probe: Probe, server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_probe, "STEP_SECONDS", 0.0)
    server.silent = True
    refusal = probe.attempt(Operation.LOOK, lambda _: None)
    assert refusal is not None
    assert refusal.code is None
    assert not server.connected, "the connection with the late answer was used again"
    server.silent = False
    assert probe.attempt(Operation.LOOK, lambda _: None) is None
    assert server.opened == 2


def test_an_alarm_of_the_broker_is_noticed(probe: Probe, server: Broker) -> None:
    assert not probe.blocked
    server.on_blocked("low on memory")
    assert probe.blocked


def test_closing_never_fails(server: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    Probe(server.establish).close()
    probe = Probe(server.establish)
    probe.connect()
    monkeypatch.setattr(server, "close", lambda: fail(OSError("gone"))(None))
    probe.close()
    assert not server.connected
