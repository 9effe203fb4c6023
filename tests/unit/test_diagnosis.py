"""What is told of a broker's and of Redis' answers; the real answers of today's versions are among the live tests."""

from __future__ import annotations

import socket
import ssl

import pytest
from redis import exceptions as redis

from peatio_ws import diagnosis
from peatio_ws.diagnosis import Server

BROKER = Server("broker", "mq:5672", "AMQP_URL", "ann's", "/")


class Answer(Exception):
    """py-amqp's exceptions have a code beside their text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.reply_code = code


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nobody listens there"),
        (socket.gaierror(-2, "Name or service not known"), "the name of its host is not known"),
        (TimeoutError("timed out"), "does not answer"),
        (ssl.SSLError(1, "wrong version number"), "TLS does not come about"),
        (ConnectionResetError(104, "Connection reset by peer"), "breaks the connection off"),
        (OSError("Server unexpectedly closed connection"), "breaks the connection off"),
        (redis.TimeoutError("Timeout reading from socket"), "does not answer"),
        (redis.ConnectionError("Error 111 connecting to r:6379. Connection refused."), "nobody listens there"),
        (redis.ConnectionError("Error -2 connecting to r:6379. Name or service not known."), "host is not known"),
        (ValueError(), "breaks the connection off (ValueError)"),
    ],
)
def test_whatever_keeps_us_from_a_server_is_named_with_a_remedy(error: Exception, text: str) -> None:
    found = diagnosis.unreachable(BROKER, error)
    assert (found.what, found.well) == ("broker", False)
    assert found.text.startswith("mq:5672: ")
    assert text in found.text
    assert "AMQP_URL" in found.remedy


def test_an_answer_of_many_lines_becomes_one() -> None:
    assert "\n" not in diagnosis.unreachable(BROKER, OSError("a\nb" * 200)).text


def test_names_in_a_command_are_quoted() -> None:
    remedy = diagnosis.refused(BROKER, Answer(530, "NOT_ALLOWED - access to vhost '/' refused for user")).remedy
    assert """set_permissions -p / 'ann'"'"'s' """ in remedy


def test_a_refusal_that_nobody_knows_is_told_as_it_is() -> None:
    found = diagnosis.refused(BROKER, Answer(530, "NOT_ALLOWED - node connection limit is reached"))
    assert "node connection limit" in found.text


@pytest.mark.parametrize(
    ("version", "code", "remedy"),
    [
        ("3.8.9", 406, "RabbitMQ 3.9 or later"),
        ("3.7.0", 540, "RabbitMQ 3.9 or later"),
        ("3.11.0", 406, "enable_feature_flag stream_queue"),
        ("4.1.0-rc.1", 540, "enable_feature_flag stream_queue"),
    ],
)
def test_a_broker_without_streams_is_told_by_its_version(version: str, code: int, remedy: str) -> None:
    answer = Answer(code, "invalid arg 'x-queue-type' for queue: unsupported queue type 'stream'")
    found = diagnosis.history(BROKER, "peatio_ws.history", version, False, answer)
    assert "has no streams" in found.text
    assert remedy in found.remedy
    assert "AMQP_HISTORY=worker" in found.remedy


@pytest.mark.parametrize("argument", ["auto_delete", "internal", "alternate-exchange"])
def test_another_difference_of_an_exchange_is_told_as_the_broker_says_it(argument: str) -> None:
    answer = Answer(
        406, f"PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange: received 'a' but current is 'b'"
    )
    found = diagnosis.exchange(BROKER, "peatio.trade", "headers", False, True, answer)
    assert found.well is False
    assert argument in found.text


@pytest.mark.parametrize(
    ("version", "well"),
    [("7.0.0", True), ("7.4.2", True), ("10.0", True), ("6.2.14", False), ("5.0.3", False), (None, True)],
)
def test_redis_has_to_be_new_enough(version: str | None, well: bool) -> None:
    found = diagnosis.redis_found(Server("redis", "r:6379", "REDIS_URL"), version)
    assert found.well is well
    assert well or "7.0" in found.remedy
