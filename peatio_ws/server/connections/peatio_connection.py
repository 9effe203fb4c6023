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
from peatio_ws.monitoring.counters import Standing
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
from peatio_ws.protocol.streams import Kind, kind_of
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import come_again
from peatio_ws.server.connections.connection_limits import Seated
from peatio_ws.server.connections.event_session import Caller, call
from peatio_ws.server.connections.member_id import Numbering, look_up
from peatio_ws.server.connections.resumption import Resumption
from peatio_ws.server.connections.upgrade_request import Asked
from peatio_ws.server.context import House, seconds_to_wait, verify
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.websocket import WebSocket

log = structlog.get_logger("peatio_ws.server.connections.peatio_connection")

TOO_MANY_OF_ADDRESS: Final = "too many tokens from this address failed"


class Client(Seated):
    """A connection that speaks Peatio's protocols.

    Args:
        house: what it shares with the others.
        ws: accepted already.
        address: where it comes from, for the log and for limits.
        asked: what its request asked for.
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

    def __init__(self, house: House, ws: WebSocket, address: str, asked: Asked, identity: Identity | None) -> None:
        super().__init__(house, ws, address)
        self._session = session = Session(asked.dialect, house.rules, house.handlers.events)
        ranger = asked.dialect is Dialect.RANGER
        self._first = session.open(identity, asked.streams, asked.resume, asked.notices) if ranger else []
        self._receiver = Receiver(ws.outbox, asked.dialect, session.streams)
        self._settled = False  # authenticated or subscribed once
        self._resumption: Resumption | None = None  # of a client that resumes
        self._tokens, self._refilled = float(house.settings.message_burst), ws.opened
        self.expires = 0.0  # Unix time; 0 while nobody is authenticated

    @property
    def standing(self) -> Standing:
        """How far it is, for log and metrics."""
        session, closing = self._session, self.ws.outbox.closing != 0
        return Standing(session.dialect.value, closing, len(session.streams), self._receiver.uid)

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
            self._carry_out(first)
            del first
            while self._take(ws.receive()):
                pass
        except Exception:
            log.exception("connection failed", connection=ws.id)
            ws.outbox.close(Close.INTERNAL_ERROR)
        finally:
            self.stand_up()
            try:
                self._leave()
            finally:
                ws.end()

    def _leave(self) -> None:
        house, uid = self._house, self._receiver.uid
        house.router.remove(self._receiver)
        for stream in self._session.streams:
            house.intake.interest.drop_stream(stream)
        if uid is not None:
            house.intake.interest.drop_member(uid)

    def tick(self, now: float) -> None:
        """Deadlines; called about once a second with the monotonic time."""
        ws, settings = self.ws, self._house.settings
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

    def tell_place(self) -> None:
        """Give a client that resumes a cursor as of now: its last event may be longer ago than history goes back."""
        if self._resumption is not None:
            self._resumption.tell_place()

    def _take(self, message: str | bytes | None) -> bool:
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
            self._carry_out(self._session.receive(message))
        return True

    def _send(self, payload: bytes) -> None:
        outbox = self.ws.outbox
        if not outbox.closing:
            outbox.send(text_frame(payload))
            self._house.intake.tally.frames += 1

    def _within_rate(self) -> bool:
        """A token bucket: `WEBSOCKET_MESSAGE_BURST` at once, then `WEBSOCKET_MESSAGE_RATE` a second."""
        settings, now = self._house.settings, time.monotonic()
        self._tokens = min(settings.message_burst, self._tokens + (now - self._refilled) * settings.message_rate)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Verify(token):
                    self._carry_out(self._verdict(token))
                case Admit(identity, resumes):
                    if not self._admit(identity, resumes):
                        self._forget_streams(actions)
                        return
                case GoLive():
                    self._house.router.admit(self._receiver)
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
                    caller = Caller(self.ws, self._session, self._receiver, self.address, [echo] if echo else [])
                    call(self._house.handlers.events[name], name, caller, message)  # may wait
                case HangUp(code, reason):
                    self.ws.close(code, reason)

    def _verdict(self, token: str) -> list[Action]:
        # Who is authenticated has shown a good one before: its fresh token is looked at in any case.
        session, house = self._session, self._house
        if session.identity is None and (seconds := seconds_to_wait(house, self.address)):
            return session.postpone(TOO_MANY_OF_ADDRESS, seconds)
        try:
            return session.verdict(verify(house, token, self.ws.id, self.address))
        except TryLater as later:
            return session.postpone(later.text, later.seconds)

    def _subscribe(self, names: tuple[str, ...]) -> None:
        self._settled = True
        intake = self._house.intake
        intake.names.coming += len(names)
        try:
            for name in names:
                intake.interest.need_stream(name)  # may wait
        finally:
            intake.names.coming -= len(names)
        self._send_streams(names)

    def _send_streams(self, names: tuple[str, ...]) -> None:
        """From now on the client gets these streams, the current books first; harmless if it does already."""
        outbox = self.ws.outbox
        for name in names:
            self._house.router.subscribe(self._receiver, name)
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
            self._house.router.unsubscribe(self._receiver, name)
            self._house.intake.interest.drop_stream(name)

    def _resume(self, payload: bytes, cursor: str | None, echo: bytes) -> None:
        """Answer with where the client is, then what it missed, then live events."""
        session = self._session
        if self._resumption is None:
            self._resumption = Resumption(self._house, self._receiver, self._send)
        has_private = any(kind_of(stream) is Kind.PRIVATE for stream in session.streams)
        if not self._resumption.begin(payload, cursor, session.dialect is Dialect.CLASSIC or has_private, echo):
            self.ws.close(Close.RESTART, come_again())

    def _admit(self, identity: Identity, resumes: bool) -> bool:
        house, receiver = self._house, self._receiver
        numbering = Numbering(house, receiver, look_up(house, identity), self.ws.id)  # may wait
        if not resumes or house.settings.history == "off":
            house.intake.wait_until_live()  # who resumes waits later, and is served only then
        if self.ws.outbox.closing or not self.sit_as(identity.uid):
            return False
        self.expires = identity.expires
        self._settled = True
        receiver.uid = identity.uid
        numbering.begin()
        house.intake.interest.need_member(identity.uid)  # may wait
        log.debug("authenticated", connection=self.ws.id, uid=identity.uid, member_id=receiver.member_id)
        return True
