"""Findings from a broker's error codes and operations. Live tests use real answers."""

from __future__ import annotations

import pytest

from peatio_ws.cli.check import broker_remedies
from peatio_ws.cli.check.broker_remedies import Operation, Refusal
from peatio_ws.cli.check.remedies import Server

BROKER = Server("broker", "mq:5672", "AMQP_URL", "ann", "/")
HISTORY = "peatio_ws.history"
MISLEADING = "queue 'exchange' in vhost 'exchange': access refused, not found, inequivalent arg 'durable', exclusive"
"""A misleading error text: findings must not depend on it."""


@pytest.mark.parametrize(
    ("operation", "lacks"),
    [
        (Operation.DECLARE, "`configure` on the queue peatio_ws.history"),
        (Operation.BIND, "`write` on the queue peatio_ws.history"),
        (Operation.CONSUME, "`read` on the queue peatio_ws.history"),
        (Operation.PUBLISH, "`write` on the exchange amq.default"),
    ],
)
def test_missing_permission_follows_from_the_operation(operation: Operation, lacks: str) -> None:
    found = broker_remedies.history(BROKER, HISTORY, Refusal(operation, 403, MISLEADING), False)
    assert found.ok is False
    assert lacks in found.text
    assert "rabbitmqctl set_permissions -p / ann " in found.remedy


@pytest.mark.parametrize(
    ("refusal", "text", "remedy"),
    [
        (Refusal(Operation.DECLARE, 406, MISLEADING), "other arguments", "rabbitmqctl delete_queue"),
        (Refusal(Operation.DECLARE, 404, MISLEADING), "exists, but cannot be declared", "stream_status"),
        (Refusal(Operation.CONSUME, 406, MISLEADING), "cannot be read at this node", "add_replica peatio_ws.history"),
        (Refusal(Operation.CONSUME, 404, MISLEADING), "cannot be read at this node", "add_replica peatio_ws.history"),
        (Refusal(Operation.PUBLISH, 506, MISLEADING), "cannot be written to", "stream_status"),
        (Refusal(Operation.PUBLISH, 541, MISLEADING), "cannot be written to", "stream_status"),
        (Refusal(Operation.PUBLISH, None, "no answer within 4 s"), "no answer within 4 s", "stream_status"),
        (Refusal(Operation.CONSUME, None, "no answer within 4 s"), "cannot be consumed (no answer", "stream_status"),
        (Refusal(Operation.READ, None, "no answer within 4 s"), "cannot be read", "stream_status"),
    ],
)
def test_existing_but_unusable_stream_is_reported(refusal: Refusal, text: str, remedy: str) -> None:
    found = broker_remedies.history(BROKER, HISTORY, refusal, False)
    assert found.ok is False
    assert text in found.text
    assert remedy in found.remedy


def test_publishing_names_the_exchange_that_was_tried() -> None:
    """The permission to write to Peatio's exchanges, which an application's publisher needs, is not tested."""
    assert broker_remedies.publishing(BROKER, None, False).text == "messages to the exchange amq.default are confirmed"


def test_broker_alarm_is_not_a_fault_of_the_stream() -> None:
    silence = Refusal(Operation.PUBLISH, None, "no answer")
    for found in (
        broker_remedies.history(BROKER, HISTORY, silence, True),
        broker_remedies.publishing(BROKER, silence, True),
    ):
        assert "low on memory or disk" in found.text
        assert "rabbitmq-diagnostics alarms" in found.remedy


@pytest.mark.parametrize(
    ("version", "streams"),
    [("3.7.28", False), ("3.8.34", False), ("3.9.0", True), ("3.10.8", True), ("4.1.0-rc.1", True), ("", False)],
)
def test_streams_exist_since_39(version: str, streams: bool) -> None:
    assert broker_remedies.has_streams(version) is streams


@pytest.mark.parametrize(
    ("version", "code", "remedy"),
    [
        ("3.9.1", 541, "enable_feature_flag stream_queue"),
        ("3.11.0", 540, "enable_feature_flag stream_queue"),
        ("4.1.0", None, ""),
    ],
)
def test_newer_broker_without_streams_is_reported(version: str, code: int | None, remedy: str) -> None:
    refusal = Refusal(Operation.DECLARE, code, MISLEADING) if code else None
    found = broker_remedies.missing_history(BROKER, HISTORY, version, refusal)
    assert found.ok is False
    assert "supports no streams" in found.text
    assert remedy in found.remedy
    assert "AMQP_HISTORY=worker" in found.remedy
    assert bool(remedy) is ("enable_feature_flag" in found.remedy)


def test_missing_stream_is_a_fault_only_if_it_cannot_be_declared() -> None:
    conflict = Refusal(Operation.DECLARE, 406, MISLEADING)
    assert broker_remedies.missing_history(BROKER, HISTORY, "3.10.8", conflict).ok
    down = broker_remedies.missing_history(BROKER, HISTORY, "3.10.8", Refusal(Operation.DECLARE, 404, MISLEADING))
    assert "is the node with its leader running?" in down.remedy
    forbidden = broker_remedies.missing_history(BROKER, HISTORY, "3.10.8", Refusal(Operation.DECLARE, 403, MISLEADING))
    assert "`configure` on the queue" in forbidden.text


def test_leftover_queue_of_an_old_broker_is_reported() -> None:
    found = broker_remedies.existing_history(BROKER, HISTORY, "3.7.28", False, "stream")
    assert found.ok is None
    assert "RabbitMQ 3.7.28 has no streams" in found.text
    assert "AMQP_HISTORY=worker" in found.remedy
    assert "nothing to try" in broker_remedies.existing_history(BROKER, HISTORY, "3.7.28", False, "worker").text
    for mode in ("stream", "worker", "off"):
        found = broker_remedies.existing_history(BROKER, HISTORY, "3.7.28", True, mode)
        assert found.ok is False
        assert found.remedy == "`rabbitmqctl delete_queue -p / peatio_ws.history`"


def test_other_exchange_conflicts_show_the_brokers_text() -> None:
    refusal = Refusal(Operation.DECLARE, 406, "inequivalent arg 'internal' for exchange")
    found = broker_remedies.exchange(BROKER, "peatio.trade", "headers", False, refusal, other=False)
    assert found.ok is False
    assert "internal" in found.text
    assert "rabbitmqadmin delete exchange name=peatio.trade" in found.remedy
    found = broker_remedies.exchange(BROKER, "peatio.trade", "headers", False, refusal, other=True)
    assert found.remedy == "set AMQP_EXCHANGES_DURABLE=true"


def test_refused_binding_is_reported_with_exchange_and_key() -> None:
    refusal = Refusal(Operation.BIND, 403, MISLEADING, "peatio.events.ranger", "private.#")
    (found,) = broker_remedies.own_queue(BROKER, [refusal])
    assert "`write` on queues peatio_ws.…, or `read` on the exchange peatio.events.ranger" in found.text
    assert "the routing key private.#" in found.text


def test_unexpected_answer_is_shown() -> None:
    refusal = Refusal(Operation.DECLARE, 405, "RESOURCE_LOCKED - cannot obtain exclusive access")
    for found in (
        broker_remedies.missing_history(BROKER, HISTORY, "3.10.8", refusal),
        broker_remedies.missing_exchange(BROKER, "peatio.trade", "headers", False, refusal),
        *broker_remedies.own_queue(BROKER, [refusal]),
    ):
        assert "cannot be declared (RESOURCE_LOCKED" in found.text
        assert "log of the broker" in found.remedy
