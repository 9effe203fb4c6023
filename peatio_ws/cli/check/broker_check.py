"""How `check` tests a broker: everything that a gateway does there, one operation at a time (`broker_probe.py`).

Findings depend on the reply code of the broker and on the operation under way, never on a text; `broker_remedies.py`
interprets them.

The check leaves nothing behind, and changes nothing that others use. What it declares exists already with the same
properties, or is deleted with the connection, or cannot be made. To learn whether the user may make an exchange or a
stream that does not exist, it sends a declaration that RabbitMQ refuses *after* it has checked the permissions. It puts
a marker into an existing history stream, as workers do all the time.
"""

from __future__ import annotations

import functools
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import amqp

from peatio_ws.amqp.connection import open_connection
from peatio_ws.amqp.content_header import OFFSET
from peatio_ws.amqp.history_stream.setup import ARGUMENTS, FORMER_ARGUMENTS
from peatio_ws.amqp.topology import PRIVATE, public
from peatio_ws.cli.check import broker_remedies, remedies
from peatio_ws.cli.check.broker_probe import Probe
from peatio_ws.cli.check.broker_remedies import Operation, Refusal
from peatio_ws.cli.check.remedies import Server
from peatio_ws.cli.check.report import Finding
from peatio_ws.config.settings import Settings
from peatio_ws.protocol.exchanges import EXCHANGES

_NOT_FOUND, _CONFLICT = 404, 406
_NO_EXCHANGE: Final = {"alternate-exchange": 0}
"""No broker makes an exchange with this argument: RabbitMQ answers 406, or 403 if the user may not make it."""


def broker(url: str, settings: Settings, what: str = "broker") -> Iterator[Finding]:
    """Try one broker: whether it accepts the login, and allows everything that the gateway does.

    Args:
        what: name of the broker's row, if there are several.
    """
    if settings.embedded:
        yield Finding("broker", None, "inside the process: nothing to try")
        return
    connection = open_connection(url)
    known = connection.info()
    server = Server(
        what,
        f"{known['hostname']}:{known['port']}",
        "AMQP_URL, or RABBITMQ_HOST and related variables",
        known["userid"] or "guest",
        known["virtual_host"] or "/",
        any(remedies.is_encoded(known.get(part) or "") for part in ("userid", "password")),
    )
    probe = Probe(connection.transport.establish_connection)
    try:
        try:
            probe.connect()
        except Exception as error:  # report any exception
            yield remedies.login_refused(server, error)
            return
        yield remedies.connected(server, probe.connection.server_properties, probe.connection.heartbeat)
        yield from _BrokerCheck(server, probe, settings).findings()
    finally:
        probe.close()


class _BrokerCheck:
    """All operations tried on one broker."""

    def __init__(self, server: Server, probe: Probe, settings: Settings) -> None:
        self._server, self._probe, self._settings = server, probe, settings
        self._version = str(probe.connection.server_properties.get("version", ""))
        self._there: set[str] = set()  # existing exchanges

    def findings(self) -> Iterator[Finding]:
        for name, kind in EXCHANGES.items():
            yield self._exchange(name, kind)
        yield from broker_remedies.own_queue(self._server, list(self._own_queue()))
        if self._settings.history == "stream" and broker_remedies.has_streams(self._version):
            refusal = self._probe.attempt(Operation.PUBLISH, self._publish_unroutable)
            yield broker_remedies.publishing(self._server, refusal, self._probe.blocked)
        yield self._history(self._settings.history_queue)

    # ---- exchanges

    def _exchange(self, name: str, kind: str) -> Finding:
        server, durable, attempt = self._server, self._settings.amqp_durable, self._probe.attempt
        declare = functools.partial(_declare, name, kind)
        refusal = attempt(Operation.LOOK, lambda channel: declare(channel, passive=True))
        if refusal is not None and refusal.code == _NOT_FOUND:
            refusal = attempt(Operation.DECLARE, lambda channel: declare(channel, arguments=_NO_EXCHANGE))
            if refusal is not None and refusal.code == _CONFLICT:
                refusal = None
            return broker_remedies.missing_exchange(server, name, kind, durable, refusal)
        other = False
        if refusal is None:
            self._there.add(name)
            # Declaring an exchange again changes nothing; the broker reports any difference.
            refusal = attempt(Operation.DECLARE, lambda channel: declare(channel, durable=durable))
            if refusal is not None and refusal.code == _CONFLICT:
                other = attempt(Operation.DECLARE, lambda channel: declare(channel, durable=not durable)) is None
        return broker_remedies.exchange(server, name, kind, durable, refusal, other)

    # ---- a queue like those of a worker

    def _own_queue(self) -> Iterator[Refusal]:
        name = f"peatio_ws.public.{socket.gethostname()}.{uuid.uuid4().hex[:12]}"
        attempt = self._probe.attempt

        def declare(channel: Any) -> None:
            # Once bound, the queue receives what the exchange publishes meanwhile, and keeps the last few messages.
            channel.queue_declare(
                name, durable=False, exclusive=True, auto_delete=False, arguments={"x-max-length": 10}
            )

        def consume(channel: Any) -> None:
            channel.basic_cancel(channel.basic_consume(name, no_ack=True, callback=_ignore))

        if refusal := attempt(Operation.DECLARE, declare):
            yield refusal
            return
        if refusal := attempt(Operation.CONSUME, consume):
            yield refusal
        for exchange, key in dict.fromkeys((*PRIVATE, *public(self._settings.roles, self._settings.books))):
            refusal = attempt(Operation.BIND, functools.partial(_bind, name, exchange, key))
            # RabbitMQ checks the permissions before it looks for the exchange.
            to_be = exchange not in self._there and refusal is not None and refusal.code == _NOT_FOUND
            if refusal is not None and not to_be:
                yield refusal._replace(exchange=exchange, routing_key=key)
        attempt(Operation.DELETE, lambda channel: channel.queue_delete(name))

    # ---- the history stream

    def _publish_unroutable(self, channel: Any) -> None:
        """Publish a message that no queue receives: RabbitMQ confirms it, and drops it."""
        self._publish(channel, f"peatio_ws.check.{uuid.uuid4().hex}", b"check")

    def _publish(self, channel: Any, queue: str, body: bytes) -> None:
        message = amqp.Message(
            body, content_type="application/octet-stream", content_encoding="binary", delivery_mode=2
        )
        channel.basic_publish_confirm(message, "", queue)

    def _history(self, name: str) -> Finding:
        server, attempt, mode = self._server, self._probe.attempt, self._settings.history
        refusal = attempt(Operation.LOOK, lambda channel: channel.queue_declare(name, passive=True))
        there = refusal is None
        if not broker_remedies.has_streams(self._version):
            return broker_remedies.existing_history(server, name, self._version, there, mode)
        if mode != "stream":
            return Finding("history", None, f"AMQP_HISTORY={mode}: nothing to try")
        if there:
            refusal = self._declare_stream(name) or self._use_stream(name)
            return broker_remedies.history(server, name, refusal, self._probe.blocked)
        if refusal is not None and refusal.code == _NOT_FOUND:
            refusal = attempt(Operation.DECLARE, functools.partial(_declare_exclusive_stream, name))
        return broker_remedies.missing_history(server, name, self._version, refusal)

    def _declare_stream(self, name: str) -> Refusal | None:
        """Declare an existing stream, as a worker does (`history_stream/setup.py`)."""
        for arguments in (ARGUMENTS, FORMER_ARGUMENTS):
            refusal = self._probe.attempt(Operation.DECLARE, functools.partial(_declare_stream, name, arguments))
            if refusal is None or refusal.code != _CONFLICT:
                break
        return refusal

    def _use_stream(self, name: str) -> Refusal | None:
        """Bind, write and read an existing stream."""
        for exchange in sorted(self._there):
            # Unbinding a missing binding changes nothing, but the broker checks the permissions for it.
            unbind = functools.partial(_unbind, name, exchange)
            if refusal := self._probe.attempt(Operation.BIND, unbind):
                return refusal._replace(exchange=exchange)
        if self._probe.blocked:  # known already: no need to wait for it again
            return Refusal(Operation.PUBLISH, None, "the broker accepts no messages")
        return self._probe.attempt(Operation.CONSUME, functools.partial(self._publish_and_read, name))

    def _publish_and_read(self, name: str, channel: Any) -> None:
        marker, found = uuid.uuid4().bytes, []

        def on_message(message: Any) -> None:
            channel.basic_ack(message.delivery_tag)
            if bytes(message.body) == marker:
                found.append(message)

        channel.basic_qos(prefetch_size=0, prefetch_count=200, a_global=False)
        tag = channel.basic_consume(name, callback=on_message, arguments={OFFSET: "next"})
        self._probe.operation = Operation.PUBLISH
        self._publish(channel, name, marker)
        self._probe.operation = Operation.READ
        self._probe.read_until(lambda: found)
        channel.basic_cancel(tag)  # py-amqp prints a warning for each event that arrives while a channel closes


def _declare(name: str, kind: str, channel: Any, **how: Any) -> None:
    channel.exchange_declare(name, kind, auto_delete=False, **how)


def _bind(queue: str, exchange: str, routing_key: str, channel: Any) -> None:
    channel.queue_bind(queue, exchange, routing_key)


def _unbind(queue: str, exchange: str, channel: Any) -> None:
    channel.queue_unbind(queue, exchange, f"private.check-{uuid.uuid4().hex}.#")


def _declare_stream(name: str, arguments: Mapping[str, Any], channel: Any) -> None:
    channel.queue_declare(name, durable=True, auto_delete=False, arguments=dict(arguments))


def _declare_exclusive_stream(name: str, channel: Any) -> None:
    """RabbitMQ makes no exclusive streams. A broker without streams makes a queue, deleted with the connection."""
    arguments = {"x-queue-type": "stream"}
    channel.queue_declare(name, durable=True, exclusive=True, auto_delete=False, arguments=arguments)
    channel.queue_delete(name)


def _ignore(_message: object) -> None:
    pass
