"""Findings from answers of brokers and Redis. Live tests use the real answers of current versions."""

from __future__ import annotations

import socket
import ssl

import pytest
from redis import exceptions as redis

from peatio_ws.cli.check import remedies
from peatio_ws.cli.check.remedies import Server
from tests.support.gateway import ROOT

BROKER = Server("broker", "mq:5672", "AMQP_URL", "ann's", "/")


class Answer(Exception):
    """An error with a code and a text, like py-amqp's exceptions."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.reply_code = code


def wrapped(kind: type[Exception], cause: Exception) -> Exception:
    """Return an exception of redis-py that wraps one of the system."""
    try:
        try:
            raise cause
        except Exception:
            raise kind("in any words")  # noqa: B904  # as redis-py does it
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (socket.gaierror(-2, "Name or service not known"), "the name of its host cannot be resolved"),
        (TimeoutError("timed out"), "does not answer"),
        (ssl.SSLError(1, "wrong version number"), "the TLS handshake failed"),
        (ConnectionResetError(104, "Connection reset by peer"), "closes the connection"),
        (OSError("Server unexpectedly closed connection"), "closes the connection"),
        (redis.TimeoutError("Timeout reading from socket"), "does not answer"),
        (wrapped(redis.ConnectionError, ConnectionRefusedError(111, "x")), "nothing listens there"),
        (wrapped(redis.ConnectionError, socket.gaierror(-2, "x")), "host cannot be resolved"),
        (wrapped(redis.ConnectionError, ConnectionResetError(104, "x")), "closes the connection"),
        (OSError("Connection refused: Name or service not known, SSL"), "closes the connection"),
        (ValueError(), "closes the connection (ValueError)"),
    ],
)
def test_connection_errors_are_reported_with_a_remedy(error: Exception, text: str) -> None:
    found = remedies.unreachable(BROKER, error)
    assert (found.what, found.ok) == ("broker", False)
    assert found.text.startswith("mq:5672: ")
    assert text in found.text
    assert "AMQP_URL" in found.remedy


def test_multiline_answer_becomes_one_line() -> None:
    assert "\n" not in remedies.unreachable(BROKER, OSError("a\nb" * 200)).text


def test_names_in_a_command_are_quoted() -> None:
    remedy = remedies.login_refused(BROKER, Answer(530, "any words")).remedy
    assert """set_permissions -p / 'ann'"'"'s' """ in remedy
    assert "rabbitmqctl add_vhost /" in remedy


def test_documents_grant_the_same_permissions() -> None:
    command = remedies.permissions(BROKER._replace(user="USER", vhost="VHOST")).partition(",")[0]
    assert command in (ROOT / "docs" / "rabbitmq.md").read_text()


@pytest.mark.parametrize("password", ["a%2Fb", "%c3%a9", "50%", "sesame", "%zz", ""])
def test_refused_password_with_percent_codes_is_taken_literally(password: str) -> None:
    server = BROKER._replace(encoded=remedies.is_encoded(password))
    remedy = remedies.login_refused(server, Answer(403, "any words")).remedy
    assert ("RABBITMQ_PASSWORD is taken literally" in remedy) is (password in ("a%2Fb", "%c3%a9"))
    assert "RabbitMQ accepts guest from its own host only" in remedy


def test_brokers_text_about_a_virtual_host_is_shown_unchanged() -> None:
    found = remedies.login_refused(BROKER, Answer(530, "NOT_ALLOWED - node connection limit is reached"))
    assert "node connection limit" in found.text


@pytest.mark.parametrize(
    ("version", "ok"),
    [("8.2.3", True), ("10.0", True), ("5.0.3", True), ("4.0.10", True), ("3.2.12", False), (None, True)],
)
def test_redis_has_to_be_new_enough(version: str | None, ok: bool) -> None:
    found = remedies.redis_found(Server("redis", "r:6379", "REDIS_URL"), version)
    assert found.ok is ok
    assert ok or "4.0" in found.remedy
