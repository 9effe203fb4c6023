"""One Peatio connection: carries out what its session decides, and takes it in and out of the router's register."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Final

import structlog

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close
from peatio_ws.errors import TryLater
from peatio_ws.monitoring import limits
from peatio_ws.monitoring.counters import ConnectionStatus
from peatio_ws.monitoring.limits import Limit
from peatio_ws.protocol import encoding
from peatio_ws.protocol.actions import (
    Action,
    Admit,
    Call,
    GoLive,
    HangUp,
    Renew,
    Replay,
    Reply,
    Resume,
    SendBooks,
    Subscribe,
    Unsubscribe,
    Verify,
)
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.stream_syntax import Kind, kind_of
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import reconnect_reason
from peatio_ws.server.connections.connection_limits import LimitedConnection
from peatio_ws.server.connections.event_session import EventSession, call_handler
from peatio_ws.server.connections.member_id import MemberIdResolution, look_up
from peatio_ws.server.connections.resumption import Resumption
from peatio_ws.server.connections.upgrade_request import UpgradeRequest
from peatio_ws.server.context import WorkerContext, lockout_seconds, verify_token
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.peatio_connection")

TOO_MANY_OF_ADDRESS: Final = "too many tokens from this address failed"


class PeatioConnection(LimitedConnection):
    """A connection that speaks Peatio's protocols.

    Args:
        context: what it shares with the others.
        ws: accepted already.
        address: where it comes from, for the log and for limits.
        request: what its request asked for.
        identity: whom the request's token stands for, if it had one.
    """

    __slots__ = (
        "_first",
        "_receiver",
        "_refilled",
        "_resumption",
        "_session",
        "_settled",
        "_tokens",
        "expires",
    )

    def __init__(
        self, context: WorkerContext, ws: WebSocket, address: str, request: UpgradeRequest, identity: Identity | None
    ) -> None:
        super().__init__(context, ws, address)
        self._session = session = Session(request.dialect, context.rules, context.handlers.events)
        ranger = request.dialect is Dialect.RANGER
        self._first = session.open(identity, request.streams, request.resume, request.notices) if ranger else []
        self._receiver = Receiver(ws.outbox, request.dialect, session.streams)
        self._settled = False  # authenticated or subscribed once
        self._resumption: Resumption | None = None  # of a client that resumes
        self._tokens, self._refilled = float(context.settings.message_burst), ws.opened
        self.expires = 0.0  # Unix time; 0 while nobody is authenticated

    @property
    def status(self) -> ConnectionStatus:
        """How far it is, for log and metrics."""
        session, closing = self._session, self.ws.outbox.closing != 0
        return ConnectionStatus(session.dialect.value, closing, len(session.streams), self._receiver.uid)

    @property
    def identity(self) -> Identity | None:
        """Whom its last valid token stands for."""
        return self._session.identity

    def notify(self, notice: bytes) -> bool:
        """Send an operator's notice to a client that wants any; whether it was sent."""
        wanted = self._session.notices and not self.ws.outbox.closing
        if wanted:
            self._send(notice)
        return wanted

    def run(self) -> None:
        """Serve until either side closes. Blocks this greenlet only."""
        ws, session = self.ws, self._session
        log.debug("connection opened", connection=ws.id, address=self.address, protocol=session.dialect.value)
        try:
            if session.dialect is Dialect.CLASSIC:
                self._send(encoding.challenge(secrets.token_urlsafe(40)))
            first, self._first = self._first, []
            self._execute(first)
            del first
            while self._on_message(ws.receive()):
                pass
        except Exception:
            log.exception("connection failed", connection=ws.id)
            ws.outbox.close(Close.INTERNAL_ERROR)
        finally:
            self.release_slots()
            try:
                self._leave()
            finally:
                ws.end()

    def _leave(self) -> None:
        context, uid = self._context, self._receiver.uid
        context.router.remove(self._receiver)
        for stream in self._session.streams:
            context.ingest.interest.release_stream(stream)
        if uid is not None:
            context.ingest.interest.release_member(uid)

    def tick(self, now: float) -> None:
        """Deadlines; called about once a second with the monotonic time."""
        ws, settings = self.ws, self._context.settings
        ws.tick(now)
        if ws.outbox.closing:
            return
        if not self._settled:
            if now - ws.opened > settings.auth_timeout:
                text = f"neither authenticated nor subscribed within {settings.auth_timeout:g} s"
                ws.outbox.close(Close.IDLE, text)
        elif self.expires and settings.jwt_enforce_expiry and time.time() >= self.expires:
            self._send(encoding.TOKEN_EXPIRED)
            ws.outbox.close(Close.TOKEN_EXPIRED)
        elif self._resumption is not None:
            self._resumption.tick(now)

    def send_cursor(self) -> None:
        """Give a client that resumes a cursor as of now: its last event may be longer ago than history goes back."""
        if self._resumption is not None:
            self._resumption.send_cursor()

    def _on_message(self, message: str | bytes | None) -> bool:
        """Act on a message; False when there is none any more. A call of its own, so that nothing of a message stays in
        memory while the next one is waited for."""
        if message is None:
            return False
        if not isinstance(message, str):
            self.ws.close(Close.UNSUPPORTED_DATA)
        elif not self._within_rate():
            limits.reached(Limit.MESSAGES, address=self.address)
            self.ws.close(Close.POLICY, "too many messages")
        else:
            self._execute(self._session.receive(message))
        return True

    def _send(self, payload: bytes) -> None:
        outbox = self.ws.outbox
        if not outbox.closing:
            outbox.send(text_frame(payload))
            self._context.ingest.counters.frames += 1

    def _within_rate(self) -> bool:
        """A token bucket: `WEBSOCKET_MESSAGE_BURST` at once, then `WEBSOCKET_MESSAGE_RATE` a second."""
        settings, now = self._context.settings, time.monotonic()
        self._tokens = min(settings.message_burst, self._tokens + (now - self._refilled) * settings.message_rate)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _execute(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Verify(token):
                    self._execute(self._verify(token))
                case Admit(identity, resumes):
                    if not self._admit(identity, resumes):
                        self._forget_streams(actions)
                        return
                case GoLive():
                    self._context.router.admit(self._receiver)
                case Renew(identity):
                    self.expires = identity.expires
                case Subscribe(names):
                    self._subscribe(names)
                case SendBooks(names):
                    self._send_streams(names)
                case Unsubscribe(names):
                    self._unsubscribe(names)
                case Reply(payload):
                    self._send(payload)
                case Resume(payload, cursor, echo):
                    self._resume(payload, cursor, echo)
                case Replay():
                    if self._resumption is not None:
                        self._resumption.replay()
                case Call(name, message, echo):
                    caller = EventSession(self.ws, self._session, self._receiver, self.address, [echo] if echo else [])
                    call_handler(self._context.handlers.events[name], name, caller, message)  # may wait
                case HangUp(code, reason):
                    self.ws.close(code, reason)

    def _verify(self, token: str) -> list[Action]:
        # Who is authenticated has shown a good one before: its fresh token is looked at in any case.
        session, context = self._session, self._context
        if session.identity is None and (seconds := lockout_seconds(context, self.address)):
            return session.on_postponed(TOO_MANY_OF_ADDRESS, seconds)
        try:
            return session.on_verified(verify_token(context, token, self.ws.id, self.address))
        except TryLater as later:
            return session.on_postponed(later.text, later.seconds)

    def _subscribe(self, names: tuple[str, ...]) -> None:
        self._settled = True
        ingest = self._context.ingest
        ingest.names.pending += len(names)
        try:
            for name in names:
                ingest.interest.acquire_stream(name)  # may wait
        finally:
            ingest.names.pending -= len(names)
        self._send_streams(names)

    def _send_streams(self, names: tuple[str, ...]) -> None:
        """From now on the client gets these streams, the current books first; harmless if it does already."""
        outbox = self.ws.outbox
        for name in names:
            self._context.router.subscribe(self._receiver, name)
            outbox.flush()
            # Its books may be more than may wait for it: they come as it takes them.
            if not outbox.wait(outbox.limit // 2):
                return

    def _forget_streams(self, actions: list[Action]) -> None:
        """What it was to subscribe to, of which nothing is to be given back."""
        for action in actions:
            if isinstance(action, Subscribe):
                for name in action.names:
                    self._session.streams.remove(name)

    def _unsubscribe(self, names: Iterable[str]) -> None:
        for name in names:
            self._context.router.unsubscribe(self._receiver, name)
            self._context.ingest.interest.release_stream(name)

    def _resume(self, payload: bytes, cursor: str | None, echo: bytes) -> None:
        """Answer with where the client is, then what it missed, then live events."""
        session = self._session
        if self._resumption is None:
            self._resumption = Resumption(self._context, self._receiver, self._send)
        has_private = any(kind_of(stream) is Kind.PRIVATE for stream in session.streams)
        if not self._resumption.begin(payload, cursor, session.dialect is Dialect.CLASSIC or has_private, echo):
            self.ws.close(Close.RESTART, reconnect_reason())

    def _admit(self, identity: Identity, resumes: bool) -> bool:
        context, receiver = self._context, self._receiver
        resolution = MemberIdResolution(context, receiver, look_up(context, identity), self.ws.id)  # may wait
        if not resumes or context.settings.history == "off":
            context.ingest.wait_until_live()  # who resumes waits later, and is served only then
        if self.ws.outbox.closing or not self.claim_member_slot(identity.uid):
            return False
        self.expires = identity.expires
        self._settled = True
        receiver.uid = identity.uid
        resolution.begin()
        context.ingest.interest.acquire_member(identity.uid)  # may wait
        log.debug("authenticated", connection=self.ws.id, uid=identity.uid, member_id=receiver.member_id)
        return True
