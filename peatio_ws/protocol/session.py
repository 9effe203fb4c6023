"""The protocols of one connection as a state machine: a client's text in, actions out (contract sections 1 and 2).

Pure: verifying a token, sending and registering are the caller's. It is told how a token turned out with `on_verified`.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close, later_reason
from peatio_ws.protocol import encoding, stream_syntax
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
from peatio_ws.protocol.echo import echo_in
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.stream_syntax import Kind
from peatio_ws.protocol.subscription_rules import Denial, SubscriptionRules

MAX_FAILURES: Final = 5
"""Failed authentications of one connection; the last is answered, then the connection is closed (1008)."""
BUILT_IN: Final = frozenset({"jwt", "subscribe", "unsubscribe"})
"""What is answered here, and no handler's to have."""

TOO_MANY_FAILURES: Final = "too many failed authentications"


class SessionState(enum.Enum):
    ANONYMOUS = "anonymous"
    AUTHENTICATED = "authenticated"


class SessionInput(enum.Enum):
    """What a message of the client comes to, where that depends on who it is."""

    TOKEN = "a token that verified"
    TOKEN_OF_ANOTHER = "a token that verified, for another uid than before"
    BAD_TOKEN = "a token that did not verify"


class _Step(NamedTuple):
    state: SessionState
    reply: bytes
    failure: bool = False


_TABLE: Final = {
    (SessionState.ANONYMOUS, SessionInput.TOKEN): _Step(SessionState.AUTHENTICATED, encoding.AUTHENTICATED),
    (SessionState.ANONYMOUS, SessionInput.BAD_TOKEN): _Step(
        SessionState.ANONYMOUS, encoding.AUTHENTICATION_FAILED, failure=True
    ),
    (SessionState.AUTHENTICATED, SessionInput.TOKEN): _Step(SessionState.AUTHENTICATED, encoding.AUTHENTICATED),
    (SessionState.AUTHENTICATED, SessionInput.TOKEN_OF_ANOTHER): _Step(
        SessionState.AUTHENTICATED, encoding.AUTHENTICATION_FAILED, failure=True
    ),
    (SessionState.AUTHENTICATED, SessionInput.BAD_TOKEN): _Step(
        SessionState.AUTHENTICATED, encoding.AUTHENTICATION_FAILED, failure=True
    ),
}
"""Every pair that can come; (ANONYMOUS, TOKEN_OF_ANOTHER) cannot."""

_decode = msgspec.json.Decoder().decode


class Session:
    """State of one connection's protocol.

    Args:
        rules: which streams it may subscribe to.
        events: names for which there are handlers.

    Attributes:
        identity: of the last valid token; None before the first.
        streams: what it is subscribed to, in that order. Kept in place: the router looks into it. A list, because
            a dictionary takes four times its memory, and two hundred names are searched in 2 µs.
        notices: whether it wants an operator's notices.
    """

    __slots__ = (
        "_asks_notices",
        "_echo",
        "_events",
        "_failures",
        "_resume",
        "_rules",
        "dialect",
        "identity",
        "notices",
        "state",
        "streams",
    )

    def __init__(self, dialect: Dialect, rules: SubscriptionRules, events: Container[str] = ()) -> None:
        self.dialect, self._rules, self._events = dialect, rules, events
        self.state = SessionState.ANONYMOUS
        self.identity: Identity | None = None
        self.streams: list[str] = []
        self.notices = False
        self._failures = 0
        # What the message with the token that is being verified said of them.
        self._resume: object = None
        self._asks_notices = False
        self._echo = b""  # of the message that is being answered, as JSON

    def open(
        self, identity: Identity | None, names: Iterable[str], resume: str | None = None, notices: bool = False
    ) -> list[Action]:
        """What a ranger connection begins with.

        Args:
            identity: whom the handshake's token stands for, if it had one.
            names: the streams of the query.
            resume: what the query says of it: a cursor, `1` to begin, or nothing.
            notices: whether the query asks for them.
        """
        self.notices = notices
        if identity is None:
            return self._subscribe(list(names))
        self.identity, self.state = identity, SessionState.AUTHENTICATED
        if not resume:
            return [Admit(identity), *self._subscribe(list(names)), GoLive()]
        *actions, reply = self._subscribe(list(names), replays=False)
        assert isinstance(reply, Reply)
        cursor = None if resume in ("1", "true") else resume
        return [Admit(identity, resumes=True), *actions, Resume(reply.payload, cursor)]

    def receive(self, text: str) -> list[Action]:
        """What to do about a text message of the client."""
        self._echo = b""
        if self.dialect is Dialect.RANGER and (word := text.strip()) in ("", "ping"):
            return [Reply(encoding.PONG)] if word else []
        try:
            message: Any = _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            return [Reply(encoding.not_understood(self.dialect, str(error)))]
        if not isinstance(message, dict):
            return [Reply(encoding.not_understood(self.dialect, "it is no JSON object"))]
        if "echo" in message:
            self._echo = echo_in(text)
        return self._answered(self._read(message))

    def _read(self, message: dict[str, Any]) -> list[Action]:
        if "jwt" in message:
            self._resume, self._asks_notices = message.get("resume"), bool(message.get("notices"))
            return self._token(message["jwt"])
        match message.get("event"):
            case "subscribe":
                return self._change(message, self._subscribe)
            case "unsubscribe":
                return self._change(message, self._unsubscribe)
            case str() as name if name in self._events:
                return [Call(name, message, self._echo)]
        return [Reply(encoding.unknown_event(self.dialect))]

    def on_verified(self, identity: Identity | None) -> list[Action]:
        """What to do now that the token turned out to be this identity's, or nobody's (None)."""
        return self._answered(self._on_token(identity))

    def _on_token(self, identity: Identity | None) -> list[Action]:
        if identity is None:
            return self._step(SessionInput.BAD_TOKEN)
        known, resumes = self.identity, bool(self._resume)
        if known is not None and known.uid != identity.uid:
            return self._step(SessionInput.TOKEN_OF_ANOTHER)
        self.identity, self.notices = identity, self.notices or self._asks_notices
        replies = self._step(SessionInput.TOKEN)
        if resumes:
            cursor = self._resume if isinstance(self._resume, str) else None
            replies = [Resume(encoding.AUTHENTICATED, cursor, self._echo)]
        if known is not None:
            return [Renew(identity), *self._drop_forbidden(), *replies]
        return [Admit(identity, resumes), *replies, *([] if resumes else [GoLive()])]

    def on_postponed(self, why: str, seconds: int) -> list[Action]:
        """What to do instead where the token cannot be looked at for so many seconds. It may be good, so the client is
        not told that it failed; one that has shown a good one before stays."""
        if self.identity is not None:
            return self._answered([Reply(encoding.try_later(why, seconds))])
        return [HangUp(Close.FULL, later_reason(why, seconds))]

    def _answered(self, actions: list[Action]) -> list[Action]:
        """The same, with the message's `echo` in each direct answer."""
        echo = self._echo
        if not echo:
            return actions
        return [
            Reply(encoding.with_echo(action.payload, echo)) if isinstance(action, Reply) else action
            for action in actions
        ]

    def _token(self, value: object) -> list[Action]:
        scheme, _, token = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
        if scheme.lower() != "bearer":
            return [Reply(encoding.NO_BEARER)]
        return [Verify(token.strip())]

    def _step(self, what: SessionInput) -> list[Action]:
        step = _TABLE[self.state, what]
        self.state = step.state
        actions: list[Action] = [Reply(step.reply)]
        if step.failure:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                actions.append(HangUp(Close.POLICY, TOO_MANY_FAILURES))
        return actions

    def _change(self, message: dict[str, Any], change: Any) -> list[Action]:
        names = message.get("streams")
        if names is None:
            return [Reply(encoding.NO_STREAMS)]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return [Reply(encoding.STREAMS_NOT_TEXTS)]
        actions: list[Action] = change(names)
        return actions

    def _subscribe(self, names: list[str], replays: bool = True) -> list[Action]:
        has = set(self.streams)
        new = dict.fromkeys(name for name in names if name not in has)
        again = dict.fromkeys(name for name in names if name in has and name.endswith("-inc"))
        actions: list[Action] = []
        if len(has) + len(new) > self._rules.most:
            actions.append(Reply(encoding.too_many_streams(self._rules.most)))
            new.clear()
        taken = self._taken(new, actions)
        if taken:
            self.streams += taken
            actions.append(Subscribe(tuple(taken)))
        if again:
            actions.append(SendBooks(tuple(again)))
        actions.append(Reply(encoding.subscribed(self.streams)))
        if replays and any(stream_syntax.kind_of(name) is Kind.PRIVATE for name in taken):
            actions.append(Replay())
        return actions

    def _taken(self, new: Iterable[str], actions: list[Action]) -> list[str]:
        """Return which of these streams the client gets. For the others the answers are put behind the actions."""
        taken: list[str] = []
        held, is_room = len(self.streams), True
        for name in new:
            if self.dialect is Dialect.CLASSIC and stream_syntax.kind_of(name) is Kind.PRIVATE:
                continue  # a classic client gets its member's events in any case
            match self._rules.check(name, self.identity, held + len(taken)):
                case str() as kept:
                    taken.append(kept)
                case Denial.FORBIDDEN:
                    actions.append(Reply(encoding.cannot_subscribe(name)))
                case Denial.NO_ROOM:
                    is_room = False
                case Denial.ANONYMOUS:
                    pass  # as Ranger
        if not is_room:
            actions.append(Reply(encoding.NO_ROOM_FOR_NAMES))
        return taken

    def _unsubscribe(self, names: list[str]) -> list[Action]:
        dropped = self._drop(set(names).intersection(self.streams))
        return [*dropped, Reply(encoding.unsubscribed(self.streams))]

    def _drop_forbidden(self) -> list[Action]:
        """A newer token may have a lesser role."""
        return self._drop(name for name in self.streams if not self._rules.is_permitted(name, self.identity))

    def _drop(self, names: Iterable[str]) -> list[Action]:
        gone = set(names)
        dropped = tuple(name for name in self.streams if name in gone)
        self.streams[:] = [name for name in self.streams if name not in gone]
        return [Unsubscribe(dropped)] if dropped else []
