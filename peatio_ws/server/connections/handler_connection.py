"""A WebSocket of a path of its own, as its handler sees it, and what becomes of it when the handler ends.

The handler speaks with its client as it likes; from here are the limits, and the streams it asks for. Does not know how
connections come (`gateway.py`), nor Peatio's protocols but for the form of an event.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any, cast

import gevent
import structlog
from geventwebsocket.exceptions import WebSocketError

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.cluster.local_state import MemberIdLookup
from peatio_ws.errors import ClientError, Disconnect, Refused
from peatio_ws.monitoring import metrics
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.protocol.subscription_rules import Denial
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.connections.connection_limits import LimitedConnection
from peatio_ws.server.connections.event_session import HANDLER_FAILURES
from peatio_ws.server.connections.member_id import MemberIdResolution, look_up
from peatio_ws.server.context import WorkerContext
from peatio_ws.server.routes import Route
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.handler_connection")

PROTOCOL = "handler"
"""Its word in the log and the metrics."""


def identify_request(route: Route, environ: dict[str, Any]) -> Identity | None:
    """Who a request is from, if the path has somebody to ask. Such a member has no role and no end.

    Raises:
        Refused: by whom is asked; with 500, where that fails.
    """
    if route.identify is None:
        return None
    try:
        uid = route.identify(environ)
        if uid is not None and not (isinstance(uid, str) and uid):
            raise TypeError(f"identify has to return a uid as str, or None; not {type(uid).__name__}")
    except Refused:
        raise
    except HANDLER_FAILURES:
        metrics.handler_failures.labels(route.path).inc()
        log.exception("identify failed", handler=route.path)
        text = "It could not be found out who you are; the log has it."
        raise Refused("500 Internal Server Error", text, close=Close.INTERNAL_ERROR) from None
    return None if uid is None else Identity(uid, None, "", math.inf)


class HandlerConnection(LimitedConnection):
    """What a handler of `@gateway.websocket(path)` is called with.

    Args:
        context: what it shares with the others.
        ws: accepted already.
        address: where it comes from, for the log and for limits.
        environ: of its request.
        member: whom the request's token stands for, if it had one, or who its path's `identify` says.
        route: its handler, which runs for as long as the connection lives, in a greenlet of its own.

    Attributes:
        environ: the request as WSGI has it (path, query, headers), as far as it is text.
        member: None for nobody, and never of a token that does not verify. Its member id may come later.
    """

    __slots__ = ("_greenlet", "_left", "_lookup", "_receiver", "_route", "environ", "member")

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
        # Frameworks put their request there, with all that hangs on it; it would live as long as the connection.
        self.environ = {name: value for name, value in environ.items() if isinstance(value, str)}
        self.member = member
        self._lookup: MemberIdLookup | None = None  # of the member id
        self._receiver: Receiver | None = None  # once it has a stream
        self._greenlet: Any = None
        self._left = False  # its handler has ended: nothing may be registered for it any more

    # ---- for the handler

    @property
    def id(self) -> str:
        """Its name in the log."""
        return self.ws.id

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.ws.closed

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The client's next message, text as str, binary as bytes; None once there will be no more.

        Args:
            timeout: seconds after which it is a TimeoutError; the connection goes on, and nothing is lost.
        """
        return self.ws.receive(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """The client's messages, until there are no more."""
        return iter(self.ws)

    def send(self, message: str | bytes, binary: bool | None = None) -> None:
        """Send a message: str as text, bytes as binary, or as `binary` says.

        In the handler's own greenlet it waits while half of `WEBSOCKET_OUTBOX_BYTES` is waiting for the client; from
        any other it never waits, and a client that takes too little is closed with 4413.

        Raises:
            WebSocketError: closed already. A handler may let it fall: the client has gone.
            TypeError: no message.
        """
        outbox = self.ws.outbox
        if outbox.size and gevent.getcurrent() is self._greenlet:
            outbox.wait(outbox.limit // 2)
        self.ws.send(message, binary)

    def close(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        """Start the closing handshake; harmless a second time. ValueError for a code that may not be sent."""
        self.ws.close(code, reason)

    def subscribe(self, *streams: str) -> None:
        """From now on events of these streams are sent to the client, each as `{"<stream>":<body>}` between the
        handler's own messages: as to a ranger client (contract section 2), by the same rules.

        A name without a dot is the member's own (`order`, any private event), one with a dot public, one with two for
        the roles in `RANGO_RBAC_<PREFIX>`. Of an `-inc` the book comes first. May wait for the broker, and for the
        client to take books; whoever is interrupted there (`gevent.Timeout`) may call it again.

        Raises:
            ClientError: not for this client, or no stream, or too many; then none of them is subscribed to.
        """
        outbox, most = self.ws.outbox, self._context.rules.most
        receiver = self._receiver = self._receiver or Receiver(outbox, Dialect.RANGER)
        mine = receiver.streams
        new = [name for name in dict.fromkeys(streams) if name not in mine]
        if len(mine) + len(new) > most:
            raise ClientError(f"too many streams: a connection has {most} at most")
        new = [self._check_stream(name, len(mine)) for name in new]
        if any(kind_of(name) is Kind.PRIVATE for name in new):
            self._admit(receiver)
        for name in new:
            self._add(receiver, name)
            # Its books may be more than may wait for it: they come as it takes them.
            if not outbox.wait(outbox.limit // 2):
                return

    def unsubscribe(self, *streams: str) -> None:
        """Events of these streams come no more; harmless if they did not."""
        receiver = self._receiver or Receiver(self.ws.outbox, Dialect.RANGER)
        for name in set(streams).intersection(receiver.streams):
            receiver.streams.remove(name)
            self._context.router.unsubscribe(receiver, name)
            self._context.ingest.interest.release_stream(name)

    # ---- for the gateway

    @property
    def identity(self) -> Identity | None:
        """Whose it is, as for connections of Peatio's protocols."""
        return self.member

    def notify(self, _notice: bytes) -> bool:
        """Nothing: what is sent here is the handler's."""
        return False

    def run(self) -> None:
        """Call the handler, and end the connection as it ended."""
        ws = self.ws
        self._greenlet = gevent.getcurrent()
        log.debug("connection opened", connection=ws.id, address=self.address, protocol=PROTOCOL)
        try:
            ws.outbox.flush()  # the answer to the handshake; the handler may have nothing to say for long
            member = self.member = self._resolve_member_id()
            if not ws.closed and (member is None or self.claim_member_slot(member.uid)):
                self._route.handler(self)
        except Disconnect as end:
            ws.close(end.code, end.reason)
        except ClientError as fault:
            ws.close(Close.POLICY, str(fault))
        except HANDLER_FAILURES as error:
            if not (isinstance(error, WebSocketError) and ws.closed):  # it sent to a client that had gone
                self._log_failure()
            ws.outbox.close(Close.INTERNAL_ERROR)
        finally:
            self.release_slots()
            try:
                self._leave()
            finally:
                ws.end()

    @property
    def status(self) -> ConnectionStatus:
        """How far it is, for log and metrics."""
        streams = len(self._receiver.streams) if self._receiver is not None else 0
        return ConnectionStatus(PROTOCOL, self.closed, streams, self.member.uid if self.member is not None else None)

    def tick(self, now: float) -> None:
        """Deadlines; called about once a second with the monotonic time."""
        self.ws.tick(now)
        enforced = self._context.settings.jwt_enforce_expiry and not self.ws.outbox.closing
        if enforced and self.member is not None and time.time() >= self.member.expires:
            self.ws.close(Close.TOKEN_EXPIRED)

    def send_cursor(self) -> None:
        """Nothing: what a handler sends is not resumed."""

    def _resolve_member_id(self) -> Identity | None:
        """The member with its numeric id, if that is known yet."""
        if self.member is None:
            return None
        self._lookup = lookup = look_up(self._context, self.member)  # may wait
        lookup.on_answer = self._on_member_id
        return dataclasses.replace(self.member, member_id=lookup.number)

    def _on_member_id(self, number: int | None) -> None:
        self.member = dataclasses.replace(cast(Identity, self.member), member_id=number)

    def _check_stream(self, name: str, streams: int) -> str:
        """The name as the worker keeps it, if this client may have the stream."""
        kept = self._context.rules.check(name, self.member, streams)
        if isinstance(kept, Denial):
            raise ClientError(f"cannot subscribe to {name[:128]}{kept.value}")
        return kept

    # What is needed of the broker is counted before the wait for it. If that is interrupted, or the connection ends
    # meanwhile, or another greenlet did the same, it is given back.

    def _admit(self, receiver: Receiver) -> None:
        """From now on it gets its member's events, of the kinds it is subscribed to."""
        ingest, member, lookup = self._context.ingest, self.member, self._lookup
        assert member is not None and lookup is not None  # noqa: PT018
        if receiver.uid is not None:
            return
        ingest.wait_until_live()
        admitted = False
        try:
            ingest.interest.acquire_member(member.uid)  # may wait
            admitted = receiver.uid is None and not self._left
        finally:
            if not admitted:
                ingest.interest.release_member(member.uid)
        if admitted:
            receiver.uid = member.uid
            MemberIdResolution(self._context, receiver, lookup, self.ws.id, self._on_member_id).begin()
            self._context.router.admit(receiver)

    def _add(self, receiver: Receiver, name: str) -> None:
        """From now on it gets this stream."""
        ingest, mine = self._context.ingest, receiver.streams
        added = False
        try:
            ingest.interest.acquire_stream(name)  # may wait
            added = name not in mine and not self._left
        finally:
            if not added:
                ingest.interest.release_stream(name)
        if added:
            mine.append(name)
            self._context.router.subscribe(receiver, name)
            receiver.outbox.flush()

    def _leave(self) -> None:
        receiver, context, self._left = self._receiver, self._context, True
        if self._lookup is not None:
            context.shared.forget_lookup(self._lookup)
        if receiver is not None:
            self.unsubscribe(*receiver.streams)
            context.router.remove(receiver)
            if receiver.uid is not None:
                context.ingest.interest.release_member(receiver.uid)

    def _log_failure(self) -> None:
        metrics.handler_failures.labels(self._route.path).inc()
        log.exception("handler failed", connection=self.ws.id, handler=self._route.path)
