"""`check` tries a broker: the faults that it finds in a model of one, and that it leaves nothing behind.

The real broker is tested in `tests/live/test_check.py` and `tests/live/test_broker_permissions.py`.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from amqp.exceptions import AccessRefused

from peatio_ws.amqp.history_stream.setup import ARGUMENTS, FORMER_ARGUMENTS
from peatio_ws.cli.check import broker_check
from peatio_ws.cli.check.broker_check import broker
from peatio_ws.cli.check.report import Finding
from tests.support.servers import free_port
from tests.unit.cli.check.broker_model import Broker
from tests.unit.samples import settings

URL = "amqp://ann:secret@mq:5672/exchange"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    info = {"hostname": "mq", "port": 5672, "userid": "ann", "virtual_host": "exchange"}
    connection = SimpleNamespace(info=lambda: info, transport=SimpleNamespace(establish_connection=made.establish))
    monkeypatch.setattr(broker_check, "open_connection", lambda _: connection)
    return made


def found(**environ: str) -> list[Finding]:
    chosen = settings(**{"AMQP_URL": URL, "AMQP_HISTORY_QUEUE": "history", **environ})
    return list(broker(URL, chosen))


def wrong(**environ: str) -> list[str]:
    return [finding.text for finding in found(**environ) if finding.ok is False]


def test_check_of_a_healthy_broker_finds_and_leaves_nothing(server: Broker) -> None:
    assert wrong() == []
    assert server.left == set()
    assert server.published.count("history") == 1, "more or less than one marker was published"
    assert not server.connected


@pytest.mark.parametrize("arguments", [ARGUMENTS, FORMER_ARGUMENTS])
def test_stream_of_any_version_of_the_gateway_is_accepted(server: Broker, arguments: dict[str, object]) -> None:
    server.arguments = arguments
    assert wrong() == []
    server.arguments = {**arguments, "x-max-age": "2h"}
    assert len(wrong()) == 1


def test_the_in_process_broker_is_not_tried() -> None:
    (finding,) = broker("memory://", settings(AMQP_URL="memory://"))
    assert finding.ok is None


@pytest.mark.parametrize("code", [403, 530])
def test_a_refused_login_ends_the_check(server: Broker, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse() -> None:
        error = AccessRefused("refused")
        error.reply_code = code
        raise error

    monkeypatch.setattr(server, "establish", refuse)
    info = {"hostname": "mq", "port": 5672, "userid": "ann", "virtual_host": "exchange"}
    connection = SimpleNamespace(info=lambda: info, transport=SimpleNamespace(establish_connection=refuse))
    monkeypatch.setattr(broker_check, "open_connection", lambda _: connection)
    (finding,) = found()
    assert finding.ok is False
    assert "mq:5672" in finding.text


def test_port_without_a_broker_is_reported() -> None:
    port = free_port()
    url = f"amqp://127.0.0.1:{port}"
    (finding,) = broker(url, settings(AMQP_URL=url))
    assert finding.ok is False
    assert f"127.0.0.1:{port}" in finding.text


def test_missing_exchange_is_not_declared(server: Broker) -> None:
    server.exchanges = set()
    assert wrong() == [], "missing exchanges are not a fault: publishers declare them"
    assert server.left == set()


@pytest.mark.parametrize(
    ("denied", "environ"),
    [
        ("queue_declare", {}),
        ("queue_bind", {}),
        ("basic_consume", {}),
        ("basic_publish", {}),
        ("queue_declare", {"AMQP_HISTORY": "off"}),
    ],
)
def test_a_missing_permission_is_a_fault(server: Broker, denied: str, environ: dict[str, str]) -> None:
    server.denied = {denied}
    assert wrong(**environ)
    assert server.left == set()


def test_missing_stream_is_probed_with_a_conflicting_declaration(server: Broker) -> None:
    server.queues = set()
    assert wrong() == []
    assert "history" not in server.published
    assert server.left == set()
    server.denied = {"queue_declare"}
    assert wrong()


def test_without_a_history_stream_no_stream_is_probed(server: Broker) -> None:
    assert wrong(AMQP_HISTORY="off") == []
    assert server.published == []
