"""Markers: messages that are published to the history stream and read back, over a dedicated connection.

A marker that comes back proves that the stream accepts messages and can be read at this node. Its offset is the end of
the stream. Markers never use the connection that reads the events, because RabbitMQ would block its reader together
with the publisher (RabbitMQ, "Alarms"). Each marker has a new connection, because RabbitMQ 3.10 loses what a channel
publishes to a stream whose leader has died since the channel last used it.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import amqp
import gevent
from amqp.exceptions import (
    AccessRefused,
    AMQPNotImplementedError,
    InternalError,
    MessageNacked,
    NotFound,
    PreconditionFailed,
    ResourceError,
    ResourceLocked,
)
from kombu import Connection

from peatio_ws.amqp.connection import CONNECT_TIMEOUT, describe_error
from peatio_ws.amqp.content_header import OFFSET
from peatio_ws.amqp.frame_reader import consume
from peatio_ws.amqp.source import Refusal, SourceRefused, SourceUnavailable
from peatio_ws.protocol.exchanges import Delivery

PREFETCH: Final = 400
RETRY_SECONDS: Final = 0.1
LOST_SECONDS: Final = 1.5
"""A marker that has not come back after this time is published again. RabbitMQ 3.10 loses what is published just after
a stream has got another leader."""
UNAVAILABLE: Final = (NotFound, ResourceError, ResourceLocked, InternalError)
"""Errors of a stream that has no leader, no quorum or no coordinator for the moment."""


class BrokerAlarm(ConnectionError):
    """The broker blocks all publishers, because it has too little memory or disk (RabbitMQ, "Alarms")."""


def publish_and_read_back(
    reading: Connection,
    queue: str,
    seconds: float,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    patience: float = math.inf,
) -> Delivery:
    """Publish a message to the stream, and read it back. Retries while the stream is being created, and once if the
    message is lost.

    Args:
        reading: a connection to the same broker, which is cloned.
        seconds: time limit.
        body: the message; random if empty.
        patience: seconds after which it does not retry, if that is before the time limit.

    Returns:
        The message as readers of the stream receive it.

    Raises:
        BrokerAlarm, SourceRefused, SourceUnavailable, and what kombu and py-amqp raise if the broker is lost.
    """
    began = time.monotonic()
    until, retry_until = began + seconds, began + min(seconds, patience)
    limit = LOST_SECONDS
    while True:
        left = max(0.01, until - time.monotonic())
        try:
            return _publish_and_read_back(reading, queue, min(limit, left), body or uuid.uuid4().bytes, headers)
        except SourceUnavailable as error:
            if time.monotonic() + RETRY_SECONDS > (retry_until if error.answered else until):
                raise
            if not error.answered:
                limit = math.inf
            gevent.sleep(RETRY_SECONDS)


def _publish_and_read_back(
    reading: Connection, queue: str, seconds: float, body: bytes, headers: Mapping[str, str] | None
) -> Delivery:
    found: list[Delivery] = []
    unacked: list[int] = []

    def on_delivery(delivery: Delivery, tag: int) -> None:
        unacked.append(tag)
        if delivery.body == body and not delivery.exchange:
            found.append(delivery)

    silence = SourceUnavailable("a message published to the stream did not come back", answered=False)
    with _open_second(reading) as connection, refusals_translated(Refusal.NO_REPLICA), gevent.Timeout(seconds, silence):
        alarms: list[object] = []
        connection.connection.on_blocked = alarms.append
        channel = connection.default_channel
        channel.auto_decode = False
        channel.basic_qos(prefetch_size=0, prefetch_count=PREFETCH, a_global=False)
        consume(channel, queue, on_delivery, acks=True, arguments={OFFSET: "next"})
        channel.basic_publish(_message(body, headers), "", queue)
        while not found:
            if alarms:
                raise BrokerAlarm("the broker accepts no messages: it has too little memory or disk")
            connection.drain_events()
            if len(unacked) >= PREFETCH // 2 or (found and found[0].offset is None):
                channel.basic_ack(unacked[-1], multiple=True)  # if the queue is not a stream, this removes the marker
                unacked.clear()
        if found[0].offset is None:
            raise SourceRefused(Refusal.NOT_A_STREAM)
        return found[0]


def is_writable(reading: Connection, queue: str, seconds: float) -> bool:
    """Return whether the broker confirms a message to the stream within this time. Waits.

    Raises what kombu and py-amqp raise if the broker is lost.
    """
    silence = SourceUnavailable("a message published to the stream was not confirmed", answered=False)
    try:
        with _open_second(reading, confirm_publish=True) as connection, gevent.Timeout(seconds, silence):
            connection.default_channel.basic_publish(_message(uuid.uuid4().bytes, None), "", queue)
    except (*UNAVAILABLE, MessageNacked, SourceUnavailable):
        return False
    return True


def is_refused_to_publishers(reading: Connection, queue: str, seconds: float) -> bool:
    """Return whether the broker refuses messages to the stream, and so Peatio's messages, too. Waits.

    Raises what kombu and py-amqp raise if the broker is lost.
    """
    # Without heartbeats: nothing sends them meanwhile, and RabbitMQ would close the connection before it answers.
    with _open_second(reading.clone(heartbeat=0), confirm_publish=True) as connection:
        try:
            with gevent.Timeout(seconds, False):
                connection.default_channel.basic_publish(_message(uuid.uuid4().bytes, None), "", queue)
        except UNAVAILABLE:
            return True
    return False


@contextlib.contextmanager
def refusals_translated(conflict: Refusal) -> Iterator[None]:
    """Translate the broker's errors, by code, into `SourceRefused` and `SourceUnavailable`.

    Args:
        conflict: what 406 (PRECONDITION_FAILED) means for this operation.
    """
    try:
        yield
    except AccessRefused as error:
        raise SourceRefused(Refusal.NOT_ALLOWED, describe_error(error)) from error
    except PreconditionFailed as error:
        if conflict is Refusal.NO_REPLICA:  # RabbitMQ 3.10 gives the same error while a stream is being created
            raise SourceUnavailable(describe_error(error), answered=True, refusal=conflict) from error
        raise SourceRefused(conflict, describe_error(error)) from error
    except AMQPNotImplementedError as error:
        raise SourceRefused(Refusal.NO_STREAMS, describe_error(error)) from error
    except UNAVAILABLE as error:
        raise SourceUnavailable(describe_error(error), answered=True) from error


def _message(body: bytes, headers: Mapping[str, str] | None) -> Any:
    return amqp.Message(
        body,
        content_type="application/octet-stream",
        content_encoding="binary",
        delivery_mode=2,
        application_headers=dict(headers or {}),
    )


@contextlib.contextmanager
def _open_second(reading: Connection, **options: Any) -> Iterator[Connection]:
    connection = reading.clone(transport_options={**reading.transport_options, **options})
    try:
        with gevent.Timeout(CONNECT_TIMEOUT, TimeoutError(f"no answer within {CONNECT_TIMEOUT:g} s")):
            connection.connect()
        yield connection
        with gevent.Timeout(CONNECT_TIMEOUT, False):
            connection.close()  # RabbitMQ drops unread messages of a client that only closes its socket
    finally:
        connection.collect()  # not close(): the broker may be frozen
