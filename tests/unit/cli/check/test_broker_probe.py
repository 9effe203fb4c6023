"""How `check` tries operations on a model of a broker: in time, by their error codes, leaving nothing behind.

The real broker is tested in `tests/live/test_check.py` and `tests/live/test_broker_permissions.py`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, AMQPError, MessageNacked, NotFound, PreconditionFailed

from peatio_ws.cli.check import broker_probe
from peatio_ws.cli.check.broker_probe import Probe, broker
from peatio_ws.cli.check.broker_remedies import Operation
from peatio_ws.cli.check.report import Finding
from peatio_ws.protocol.exchanges import EXCHANGES
from tests.support.servers import free_port
from tests.unit.samples import settings

URL = "amqp://ann:secret@mq:5672/exchange"


class Broker:
    """The part of RabbitMQ that `check` uses: one connection; all its channels are this object.

    Attributes:
        exchanges, queues: names of those that exist.
        denied: names of forbidden methods.
        left: what this connection declared and has not deleted.
        published: routing keys of published messages.
    """

    def __init__(self) -> None:
        self.exchanges = set(EXCHANGES)
        self.queues: set[str] = {"history"}
        self.denied: set[str] = set()
        self.left: set[str] = set()
        self.published: list[str] = []
        self.version = "3.13.7"
        self.opened, self.connected, self.silent = 0, False, False
        self.on_blocked: Any = None
        self.heartbeat = 30
        self._consumers: dict[str, Any] = {}
        self._waiting: list[Any] = []

    @property
    def server_properties(self) -> dict[str, Any]:
        return {"product": "RabbitMQ", "version": self.version}

    def establish(self) -> Broker:
        self.opened += 1
        self.connected = True
        self.drain_events = self._drain
        return self

    # ---- a connection

    def channel(self) -> Broker:
        if self.silent:
            self.drain_events()
        return self

    def close(self) -> None: ...

    def collect(self) -> None:
        self.connected = False

    def _drain(self, timeout: float | None = None) -> None:
        if not self._waiting:
            raise TimeoutError
        consumer, message = self._waiting.pop(0)
        consumer(message)

    # ---- a channel

    def exchange_declare(
        self, name: str, _kind: str, passive: bool = False, durable: bool = False, arguments: Any = None, **_: Any
    ) -> None:
        if passive:
            if name not in self.exchanges:
                raise NotFound
            return
        self._check("exchange_declare")
        if arguments or durable:
            raise PreconditionFailed
        assert name in self.exchanges, "the check declared an exchange"

    def queue_declare(
        self, name: str, passive: bool = False, exclusive: bool = False, arguments: Any = None, **_: Any
    ) -> None:
        if passive:
            if name not in self.queues:
                raise NotFound
            return
        self._check("queue_declare")
        if exclusive and "x-queue-type" in (arguments or {}):
            raise PreconditionFailed
        if name not in self.queues:
            self.left.add(name)

    def queue_delete(self, name: str) -> None:
        self.left.discard(name)

    def queue_bind(self, _queue: str, exchange: str, _key: str) -> None:
        self._check("queue_bind")
        if exchange not in self.exchanges:
            raise NotFound

    def queue_unbind(self, *_: str) -> None:
        self._check("queue_bind")

    def basic_qos(self, **_: Any) -> None: ...

    def basic_consume(self, queue: str, callback: Any, **_: Any) -> str:
        self._check("basic_consume")
        self._consumers[queue] = callback
        return queue

    def basic_cancel(self, queue: str) -> None:
        del self._consumers[queue]

    def basic_ack(self, _tag: int) -> None: ...

    def basic_publish_confirm(self, message: Any, _exchange: str, queue: str) -> None:
        self._check("basic_publish")
        self.published.append(queue)
        if queue in self._consumers:
            found = SimpleNamespace(body=message.body, delivery_tag=1)
            self._waiting.append((self._consumers[queue], found))

    def _check(self, method: str) -> None:
        if method in self.denied:
            raise AccessRefused(f"no permission for {method}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    info = {"hostname": "mq", "port": 5672, "userid": "ann", "virtual_host": "exchange"}
    connection = SimpleNamespace(info=lambda: info, transport=SimpleNamespace(establish_connection=made.establish))
    monkeypatch.setattr(broker_probe, "open_connection", lambda _: connection)
    return made


def found(**environ: str) -> list[Finding]:
    chosen = settings(**{"AMQP_URL": URL, "AMQP_HISTORY_QUEUE": "history", **environ})
    return list(broker(URL, chosen))


def wrong(**environ: str) -> list[str]:
    return [finding.text for finding in found(**environ) if finding.ok is False]


# ---- the whole check


def test_check_of_a_healthy_broker_finds_and_leaves_nothing(server: Broker) -> None:
    assert wrong() == []
    assert server.left == set()
    assert server.published.count("history") == 1, "more or less than one marker was published"
    assert not server.connected


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
    monkeypatch.setattr(broker_probe, "open_connection", lambda _: connection)
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


# ---- one operation


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
