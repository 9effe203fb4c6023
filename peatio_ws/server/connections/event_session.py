"""Who sent the message that a handler of events is called for, and what becomes of the call.

Knows one connection's outbox and session; does not know how messages come in (`peatio_connection.py`).
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
from peatio_ws.monitoring import metrics
from peatio_ws.protocol import encoding
from peatio_ws.protocol.session import Session
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.routes import EventHandler
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.event_session")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

HANDLER_FAILURES = (Exception, gevent.Timeout, SystemExit)
"""What a handler's faults are. A `gevent.Timeout` is no Exception, and a SystemExit would end the worker."""


@dataclass(frozen=True, slots=True)
class EventSession:
    """A Peatio connection as its handlers see it; good for as long as the connection lives, from any greenlet. Two of
    one connection are equal."""

    _ws: WebSocket
    _session: Session
    _receiver: Receiver
    address: str
    """Where it comes from; of a client behind trusted proxies its own."""
    _echo: list[bytes] = field(default_factory=list, compare=False, repr=False)
    """The `echo` of the message that its handler is called for, until the handler returns; see `encoding.with_echo`."""

    @property
    def id(self) -> str:
        """The connection's name in the log."""
        return self._ws.id

    @property
    def member(self) -> Identity | None:
        """Whom its last valid token stands for; None before the first."""
        return self._session.identity

    @property
    def uid(self) -> str | None:
        """The member's uid; None while nobody is authenticated."""
        return self._receiver.uid

    @property
    def member_id(self) -> int | None:
        """Peatio's numeric id, from the token or from Redis; None where neither knows it."""
        return self._receiver.member_id

    @property
    def role(self) -> str:
        """The token's role; empty without one."""
        member = self._session.identity
        return member.role if member is not None else ""

    def reply(self, message: object) -> None:
        """Send a message: bytes as they are, which have to be UTF-8, anything else as JSON. Never waits; to a client
        that has gone it does nothing.

        If the client's message had an `echo`, an object that is sent before the handler returns gets it as its last
        key, unless it has a key of that name.

        Raises:
            TypeError, UnicodeDecodeError: not to be sent.
        """
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        payload.decode()
        if self._echo and _lacks_echo(payload):
            payload = encoding.with_echo(payload.strip(), self._echo[0])
        self._ws.outbox.send(text_frame(payload))

    def close(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        """End the connection; harmless a second time. ValueError for a code that may not be sent."""
        self._ws.close(code, reason)

    def refuse(self, text: str) -> None:
        """Answer with an error, in the client's dialect; a handler raises `ClientError` for that."""
        self._answer(encoding.error(self._session.dialect, text))

    def send_failure(self) -> None:
        """Answer that its message could not be handled, and nothing of why."""
        self._answer(encoding.failed(self._session.dialect))

    def _answer(self, payload: bytes) -> None:
        self._ws.outbox.send(text_frame(encoding.with_echo(payload, self._echo[0] if self._echo else b"")))


def call_handler(handler: EventHandler, name: str, session: EventSession, message: dict[str, Any]) -> None:
    """Run a handler of the event `name`. Whatever it does, the next message is handled too."""
    try:
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
    """Return whether a reply is a JSON object that has no key `echo`."""
    try:
        return "echo" not in _decode_object(payload)
    except (msgspec.DecodeError, RecursionError):
        return False
