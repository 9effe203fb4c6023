"""A connection that speaks Peatio's protocols: reads messages, lets the session decide, and executes its actions.

Registers the connection with the router and, on demand, with the broker. The protocol itself is in
`protocol/session.py`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence

import gevent
import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.concurrency.token_bucket import TokenBucket
from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.errors import TryLater
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol import encoding
from peatio_ws.protocol.actions import (
    Action,
    Admit,
    AwaitBroker,
    Call,
    FindMemberId,
    Follow,
    GoLive,
    HangUp,
    Replay,
    Reply,
    Resume,
    SendBooks,
    Subscribe,
    Unsubscribe,
    Verify,
)
from peatio_ws.protocol.connection_state import ConnectionInput, ConnectionState
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import reconnect_reason
from peatio_ws.server.connections import marked_streams
from peatio_ws.server.connections.base_connection import BaseConnection
from peatio_ws.server.connections.event_session import EventSession, call_handler
from peatio_ws.server.connections.member_id import MemberIdResolution, find_again, look_up
from peatio_ws.server.connections.resumption import Resumption
from peatio_ws.server.connections.upgrade_request import UpgradeRequest
from peatio_ws.server.context import WorkerContext
from peatio_ws.server.routes import EventHandler
from peatio_ws.transport.receive import Idle
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.peatio_connection")


class PeatioConnection(BaseConnection):
    """A connection that speaks Peatio's protocols.

    Args:
        context: services shared by all connections of the worker.
        ws: an accepted WebSocket.
        address: of the client, for the log and for limits.
        request: what the upgrade request asks for.
        identity: of the request's token; None without one.
    """

    __slots__ = ("_first", "_rate", "_receiver", "_resumption", "_session")
    handles_idle = True

    def __init__(
        self, context: WorkerContext, ws: WebSocket, address: str, request: UpgradeRequest, identity: Identity | None
    ) -> None:
        super().__init__(context, ws, address)
        self._session = session = Session(request.dialect, context.rules, context.handlers.events)
        ranger = request.dialect is Dialect.RANGER
        wishes = (request.streams, request.resume, request.notices, request.after)
        # What to do first; None once it is done.
        self._first: list[Action] | None = session.open(identity, *wishes) if ranger else []
        self._receiver = Receiver(ws.outbox, request.dialect, session.streams)
        self._resumption: Resumption | None = None  # of a client that resumes
        self._rate = TokenBucket(context.settings.message_burst, context.settings.message_rate)

    @property
    def status(self) -> ConnectionStatus:
        """The connection's status, for the log and metrics."""
        session, closing = self._session, self.ws.outbox.closing != 0
        uid = session.identity.uid if session.identity is not None else None
        replaying = self._receiver.state is ConnectionState.REPLAYING
        return ConnectionStatus(session.dialect.value, closing, len(session.streams), uid, replaying)

    @property
    def identity(self) -> Identity | None:
        """The identity of the last valid token; None before the first."""
        return self._session.identity

    @property
    def streams(self) -> Sequence[str]:
        """The streams that the client subscribed to, in this order."""
        return self._session.streams

    def notify(self, notice: bytes) -> bool:
        """Send an operator's notice if the client asked for notices. Return whether it was sent."""
        wanted = self._session.notices and not self.ws.outbox.closing
        if wanted:
            self._send(notice)
        return wanted

    def tick(self, now: float) -> None:
        """Enforce deadlines. Called about once a second with the monotonic time."""
        ws, settings = self.ws, self.context.settings
        ws.tick(now)
        if ws.outbox.closing:
            return
        if self._receiver.state is ConnectionState.OPEN and self.identity is None:
            if now - ws.opened > settings.auth_timeout:
                ws.outbox.close(Close.IDLE, f"neither authenticated nor subscribed within {settings.auth_timeout:g} s")
        elif self.is_expired():
            self._send(encoding.TOKEN_EXPIRED)
            ws.outbox.close(Close.TOKEN_EXPIRED)
        elif self._resumption is not None:
            self._resumption.tick(now)

    def send_cursor(self) -> None:
        """Send a client that resumes a cursor of this moment: its last event may be older than the history."""
        if self._resumption is not None:
            self._resumption.send_cursor()

    # ---- the connection's life

    def _serve(self) -> bool:
        ws = self.ws
        try:
            goes_on = self._first is None or self._begin()
            while goes_on:
                goes_on = self._on_message(ws.receive())
        except Idle:
            ws.wait_idle()
            return False
        except (Exception, gevent.Timeout):  # such as a time limit that a handler began and did not end
            log.exception("connection failed", connection=ws.id)
            ws.outbox.close(Close.INTERNAL_ERROR)
        return True

    def _begin(self) -> bool:
        if self._session.dialect is Dialect.CLASSIC:
            self._send(encoding.challenge(secrets.token_urlsafe(40)))
        first, self._first = self._first or [], None
        return self._execute(first)

    def _leave(self) -> None:
        interest, uid, session = self.context.interest, self._receiver.uid, self._session
        marked_streams.keep_for_return(self.context, session.marks, session.streams)
        self.context.router.remove(self._receiver)
        for stream in session.streams:
            interest.release_stream(stream)
        if uid is not None:
            interest.release_member(uid)

    def _on_message(self, message: str | bytes | None) -> bool:
        """Act on a message. Return False after the last one.

        This is a function so that no reference keeps a message in memory while the connection waits for the next one.
        """
        if message is None:
            return False
        self._rate.refill(time.monotonic())
        if not isinstance(message, str):
            self.ws.close(Close.UNSUPPORTED_DATA)
        elif not self._rate.take():
            limits.reached(Limit.MESSAGES, address=self.address)
            self.ws.close(Close.POLICY, "too many messages")
        else:
            return self._execute(self._session.receive(message))
        return True

    # ---- actions

    def _execute(self, actions: list[Action]) -> bool:
        """Execute actions in order. Return False if the client is not admitted, which ends the connection."""
        for action in actions:
            match action:
                case Verify():
                    if not self._execute(self._verify(action)):
                        return False
                case AwaitBroker():
                    self.context.ingest.wait_until_live()
                case Admit(identity):
                    if not self._admit(identity):
                        self._forget_streams(actions)
                        return False
                case FindMemberId(identity):
                    found = find_again(self.context, self._receiver, identity, self.ws.id, self._session.on_member_id)
                    if found and self._resumption is not None:
                        self._resumption.restart()
                case GoLive():
                    self.context.router.go_live(self._receiver)
                case Subscribe(names):
                    self._subscribe(names)
                case SendBooks(names):
                    self._send_streams(names)
                case Unsubscribe(names):
                    self._unsubscribe(names)
                case Reply(payload):
                    self._send(payload)
                case Follow():
                    marked_streams.follow(self.context.router, self.ws.outbox, action, self._send)
                case Resume():
                    self._resume(action)
                case Replay():
                    if self._resumption is not None:
                        self._resumption.replay()
                case Call(name):
                    self._call(self.context.handlers.events[name], action)
                case HangUp(code, reason):
                    self.ws.close(code, reason)
        return True

    def _send(self, payload: bytes) -> None:
        outbox = self.ws.outbox
        if not outbox.closing:
            outbox.send_text(payload)
            self.context.frames.value += 1

    def _verify(self, action: Verify) -> list[Action]:
        session, authenticator = self._session, self.context.authenticator
        try:
            if session.identity is None:  # else it has shown a valid token before
                authenticator.check_address(self.address)
            identity = authenticator.verify(action.token, self.ws.id, self.address)
        except TryLater as later:
            return session.on_postponed(action, later.text, later.seconds)
        return session.on_verified(action, identity)

    def _admit(self, identity: Identity) -> bool:
        """Prepare for the member's events. Return False if the connection is closing, or is one too many."""
        context, receiver, session = self.context, self._receiver, self._session
        lookup = look_up(context, identity)  # may wait
        resolution = MemberIdResolution(context, receiver, lookup, self.ws.id, session.on_member_id)
        if self.ws.outbox.closing or not self.claim_member_slot(identity.uid):
            return False
        receiver.admit(identity.uid)
        resolution.begin()
        context.interest.acquire_member(identity.uid)  # may wait
        log.debug("authenticated", connection=self.ws.id, uid=identity.uid, member_id=lookup.number)
        return True

    def _subscribe(self, names: tuple[str, ...]) -> None:
        self._receiver.advance(ConnectionInput.SUBSCRIBE)
        context = self.context
        context.stream_names.pending += len(names)
        try:
            context.interest.acquire_streams(names)  # may wait
        finally:
            context.stream_names.pending -= len(names)
        self._send_streams(marked_streams.prepare(context.router, names) if self._session.marks else names)

    def _send_streams(self, names: Iterable[str]) -> None:
        """Send the client these streams from now on, the current books first. Idempotent."""
        outbox = self.ws.outbox
        for name in names:
            let_others_run()  # it takes a while to encode and compress a book
            self.context.router.subscribe(self._receiver, name)
            outbox.flush()
            # All books may be more than the outbox holds, so each waits until the client has read some.
            if not outbox.wait(outbox.limit // 2):
                return

    def _forget_streams(self, actions: list[Action]) -> None:
        """Remove the streams of these actions from the session. Nothing was acquired for them."""
        for action in actions:
            if isinstance(action, Subscribe):
                for name in action.names:
                    self._session.streams.remove(name)

    def _unsubscribe(self, names: Iterable[str]) -> None:
        marked_streams.keep_for_return(self.context, self._session.marks, names)
        for name in names:
            self.context.router.unsubscribe(self._receiver, name)
            self.context.interest.release_stream(name)

    def _resume(self, action: Resume) -> None:
        session = self._session
        if self._resumption is None:
            self._resumption = Resumption(self.context, self._receiver, self._send)
        replays_now = session.dialect is Dialect.CLASSIC or any(
            kind_of(stream) is Kind.PRIVATE for stream in session.streams
        )
        if not self._resumption.begin(action, replays_now):
            self.ws.close(Close.RESTART, reconnect_reason())

    def _call(self, handler: EventHandler, action: Call) -> None:
        session = EventSession(self.ws, self._session, self.address, [action.echo] if action.echo else [])
        call_handler(handler, action.name, session, action.message)  # may wait
