"""Calls of event handlers: the session that a handler receives, and what happens when it raises.

Knows the outbox and the session of one connection. How messages are read is in `peatio_connection.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gevent
import msgspec
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.errors import ClientError, Disconnect
from peatio_ws.monitoring import metrics, spans
from peatio_ws.protocol import encoding
from peatio_ws.protocol.session import Session
from peatio_ws.server.routes import EventHandler
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.event_session")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

HANDLER_FAILURES = (Exception, gevent.Timeout, SystemExit)
"""Failures of a handler. A `gevent.Timeout` is not an Exception, and a SystemExit would end the worker."""


@dataclass(frozen=True, slots=True)
class EventSession:
    """A Peatio connection as its event handlers see it. Any greenlet may use it for as long as the connection lives.
    Two sessions of one connection are equal."""

    _ws: WebSocket
    _session: Session
    address: str
    """The client's address, also behind trusted proxies."""
    _echo: list[bytes] = field(default_factory=list, compare=False, repr=False)
    """The `echo` of the client's message until the handler returns; see `encoding.with_echo`."""

    @property
    def id(self) -> str:
        """The connection's id in the log."""
        return self._ws.id

    @property
    def member(self) -> Identity | None:
        """The identity of the last valid token; None before the first."""
        return self._session.identity

    @property
    def uid(self) -> str | None:
        """The member's uid; None while the client is anonymous."""
        member = self._session.identity
        return member.uid if member is not None else None

    @property
    def member_id(self) -> int | None:
        """Peatio's numeric id of the member, from the token or Redis; None while neither has answered."""
        member = self._session.identity
        return member.member_id if member is not None else None

    @property
    def role(self) -> str:
        """The token's role; empty without one."""
        member = self._session.identity
        return member.role if member is not None else ""

    def reply(self, message: object) -> None:
        """Send a message: bytes, which must be UTF-8, unchanged, and any other object as JSON. Never waits. Does
        nothing if the client has disconnected.

        If the client's message had an `echo`, an object that is sent before the handler returns gets it as its last
        key, unless it has a key of that name.

        Raises:
            TypeError, UnicodeDecodeError: the message cannot be sent.
        """
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        payload.decode()
        if self._echo and _lacks_echo(payload):
            payload = encoding.with_echo(payload.strip(), self._echo[0])
        self._ws.outbox.send_text(payload)

    def close(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        """Close the connection. Idempotent. Raises ValueError for a code that may not be sent."""
        self._ws.close(code, reason)

    def refuse(self, text: str) -> None:
        """Reply with an error in the client's dialect. Handlers raise `ClientError` instead."""
        self._answer(encoding.error(self._session.dialect, text))

    def send_failure(self) -> None:
        """Reply that the message could not be handled. Only the log says why."""
        self._answer(encoding.failed(self._session.dialect))

    def _answer(self, payload: bytes) -> None:
        self._ws.outbox.send_text(encoding.with_echo(payload, self._echo[0] if self._echo else b""))


def call_handler(handler: EventHandler, name: str, session: EventSession, message: dict[str, Any]) -> None:
    """Call the handler of the event `name`. Its failures do not end the connection."""
    try:
        with spans.handling(name, session.id):
            handler(session, message)
    except Disconnect as end:
        session.close(end.code, end.reason)
    except ClientError as fault:
        session.refuse(str(fault))
    except HANDLER_FAILURES:
        metrics.handler_failures.labels(name).inc()
        log.exception("handler failed", connection=session.id, handler=name)
        session.send_failure()
    finally:
        session._echo.clear()


def _lacks_echo(payload: bytes) -> bool:
    """Return whether a reply is a JSON object without the key `echo`."""
    try:
        return "echo" not in _decode_object(payload)
    except (msgspec.DecodeError, RecursionError):
        return False
