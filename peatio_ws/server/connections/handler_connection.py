"""A WebSocket of a path that an application has registered, as its handler sees it.

The handler exchanges messages with the client as it likes. The gateway adds limits, tokens, and the streams that the
handler subscribes to (`handler_streams.py`). Does not know how connections are accepted (`gateway.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import gevent
import structlog
from geventwebsocket.exceptions import WebSocketError

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.errors import ClientError, Disconnect, Refused
from peatio_ws.monitoring import metrics, spans
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.server.connections.base_connection import BaseConnection
from peatio_ws.server.connections.event_session import HANDLER_FAILURES
from peatio_ws.server.connections.handler_streams import HandlerStreams
from peatio_ws.server.connections.identification import verify_token
from peatio_ws.server.connections.member_id import look_up
from peatio_ws.server.connections.upgrade_request import SUBPROTOCOL
from peatio_ws.server.context import WorkerContext
from peatio_ws.server.routes import Route
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.handler_connection")

PROTOCOL = "handler"
"""The protocol in the log and in metrics."""


class HandlerConnection(BaseConnection):
    """The argument of a handler of `@gateway.websocket(path)`.

    Args:
        context: services shared by all connections of the worker.
        ws: an accepted WebSocket.
        address: of the client, for the log and for limits.
        environ: of the request.
        member: the identity of the request's token, or the one that the path's `identify` returned.
        route: has the handler, which runs in its own greenlet for as long as the connection lives.

    Attributes:
        environ: the text values of the request's WSGI environ (path, query, headers).
        member: the client's identity; None for an anonymous client, until `authenticate`. A token in the request that
            does not verify is refused before. The member id may follow later.
        subprotocol: what client and handler agreed on; None if the client offered none of the handler's.
    """

    __slots__ = ("_greenlet", "_lookup", "_route", "_span_context", "_streams", "environ", "member", "subprotocol")

    def __init__(
        self,
        context: WorkerContext,
        ws: WebSocket,
        address: str,
        environ: dict[str, Any],
        member: Identity | None,
        route: Route,
    ) -> None:
        super().__init__(context, ws, address)
        self._route = route
        # Frameworks add their request object and all that it refers to, which would live as long as the connection.
        self.environ = {name: value for name, value in environ.items() if isinstance(value, str)}
        self.member, self.subprotocol = member, self.environ.get(SUBPROTOCOL)
        self._lookup: MemberIdLookup | None = None  # of the member id; None until the client is authenticated
        self._streams: HandlerStreams | None = None  # from the first stream on
        self._greenlet: Any = None  # the handler's
        self._span_context = spans.current_context()  # of the request

    # ---- for the handler

    @property
    def id(self) -> str:
        """The connection's id in the log."""
        return self.ws.id

    @property
    def closed(self) -> bool:
        """Whether the connection is closing or closed."""
        return self.ws.closed

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the client's next message, text as str, binary as bytes; None after the last one.

        Args:
            timeout: seconds. Then the call raises TimeoutError; the connection stays open, and no message is lost.
        """
        return self.ws.receive(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the client's messages, until the last one."""
        return iter(self.ws)

    def send(self, message: str | bytes, binary: bool | None = None) -> None:
        """Send a message: str as text, bytes as binary, or as `binary` says.

        In the handler's own greenlet the call waits while more than half of `WEBSOCKET_OUTBOX_BYTES` is waiting for
        the client. In other greenlets it never waits, and a client that is too slow is closed with 4413.

        Raises:
            WebSocketError: the connection is closed. A handler need not catch it.
            TypeError: the message is neither str nor bytes.
        """
        outbox = self.ws.outbox
        if outbox.size and gevent.getcurrent() is self._greenlet:
            outbox.wait(outbox.limit // 2)
        self.ws.send(message, binary)

    def close(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        """Start the closing handshake. Idempotent. Raises ValueError for a code that may not be sent."""
        self.ws.close(code, reason)

    def authenticate(self, token: object) -> None:
        """Verify a token that the client sent, with or without `Bearer `. Then `member` is its identity. May wait.
        After an interruption (`gevent.Timeout`) the call may be repeated.

        Raises:
            ClientError: the token is refused, or the client is authenticated already.
            Disconnect: the token cannot be verified yet, or the member has too many connections.
        """
        if self.member is not None:
            raise ClientError("already authenticated")
        bare = token.removeprefix("Bearer ") if isinstance(token, str) else ""
        try:
            member = verify_token(self.context.authenticator, bare, self.ws.id, self.address)
        except Refused as later:
            raise Disconnect(later.close, later.reason) from None
        if member is None:
            raise ClientError("Authentication failed.")
        try:
            self.member = member  # at once, so that an operator can disconnect it
            self.member = self._resolve_member_id()
        except BaseException:
            self.member = None
            raise
        if not self.closed and not self.claim_member_slot(member.uid):
            raise Disconnect(Close.FULL)  # closed already, with its reason

    def subscribe(self, *streams: str) -> None:
        """Send the client events of these streams from now on, each as `{"<stream>":<body>}` between the handler's own
        messages. Form and rules are those of ranger clients (contract section 2).

        A name without a dot is a private stream of the member (`order`, any private event), a name with one dot a
        public stream, a name with two dots a stream for the roles in `RANGO_RBAC_<PREFIX>`. The book of an `-inc`
        stream comes first. May wait for the broker, and for the client to read books. After an interruption
        (`gevent.Timeout`) the call may be repeated.

        Raises:
            ClientError: the client may not have one of the streams, or has too many. Then it is subscribed to none.
        """
        member = self.member if self._lookup is not None else None  # else its token is being verified
        self._made_streams().subscribe(streams, member, self._lookup)

    def unsubscribe(self, *streams: str) -> None:
        """Stop sending the client events of these streams. Idempotent."""
        if self._streams is not None:
            self._streams.unsubscribe(streams)

    # ---- for the gateway

    @property
    def identity(self) -> Identity | None:
        """The same as `member`, under the name that all connections have."""
        return self.member

    @property
    def streams(self) -> Sequence[str]:
        """The streams that the handler subscribed the client to."""
        return self._streams.names if self._streams is not None else ()

    def notify(self, _notice: bytes) -> bool:
        """Send nothing: only the handler sends messages here."""
        return False

    def _serve(self) -> bool:
        """Call the handler, and close the connection according to how the handler ends. Return True."""
        ws = self.ws
        self._greenlet = gevent.getcurrent()
        try:
            ws.outbox.flush()  # the answer to the handshake: the handler's first message may come much later
            member = self.member = self._resolve_member_id()
            if not ws.closed and (member is None or self.claim_member_slot(member.uid)):
                with spans.attached(self._span_context):
                    self._route.handler(self)
        except (Disconnect, ClientError) as end:
            ws.close(end.close, end.text)
        except HANDLER_FAILURES as error:
            if not (isinstance(error, WebSocketError) and ws.closed):  # it sent to a closed connection
                metrics.handler_failures.labels(self._route.path).inc()
                log.exception("handler failed", connection=ws.id, handler=self._route.path)
            ws.outbox.close(Close.INTERNAL_ERROR)
        return True

    @property
    def status(self) -> ConnectionStatus:
        """The connection's status, for the log and metrics."""
        uid = self.member.uid if self.member is not None else None
        return ConnectionStatus(PROTOCOL, self.closed, len(self.streams), uid)

    def tick(self, now: float) -> None:
        """Enforce deadlines. Called about once a second with the monotonic time."""
        self.ws.tick(now)
        if not self.ws.outbox.closing and self.is_expired():
            self.ws.close(Close.TOKEN_EXPIRED)

    def send_cursor(self) -> None:
        """Send nothing: handlers' clients do not resume."""

    def _resolve_member_id(self) -> Identity | None:
        """Return the member with its member id, if that is known yet."""
        if self.member is None:
            return None
        self._lookup = lookup = look_up(self.context, self.member)  # may wait
        lookup.on_answer = self._on_member_id
        return dataclasses.replace(self.member, member_id=lookup.number)

    def _on_member_id(self, number: int | None) -> None:
        self.member = dataclasses.replace(cast(Identity, self.member), member_id=number)

    def _made_streams(self) -> HandlerStreams:
        if self._streams is None:
            self._streams = HandlerStreams(self.context, self.ws.outbox, self.ws.id, self._on_member_id)
        return self._streams

    def _leave(self) -> None:
        if self._lookup is not None:
            self.context.shared.forget_lookup(self._lookup)
        self._made_streams().end()  # another greenlet of the handler may still subscribe
