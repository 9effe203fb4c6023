"""The protocol of one connection: a client's text in, actions out (contract sections 1 and 2).

Pure. The connection that executes the actions verifies tokens, sends, and registers with the router. It reports the
result of a token with `on_verified` or `on_postponed`. How far the connection is, is in `connection_state.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import Any, Final

import msgspec

from peatio_ws.auth.identity import Identity
from peatio_ws.close_codes import Close, retry_reason
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
from peatio_ws.protocol.echo import echo_in
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.stream_syntax import Kind, is_trades, kind_of
from peatio_ws.protocol.subscription_rules import Denial, SubscriptionRules

MAX_FAILURES: Final = 5
"""Failed authentications of one connection. The last one is answered, then the connection is closed with 1008."""
BUILT_IN: Final = frozenset({"jwt", "subscribe", "unsubscribe"})
"""Events that the session answers. Applications cannot register handlers for them."""

Marks = Mapping[str, str | None]
"""By stream, the last mark that a client saw; None if it saw none."""

TOO_MANY_FAILURES: Final = "too many failed authentications"

_decode = msgspec.json.Decoder().decode


class Session:
    """What one connection's client has asked for, and the answers.

    Args:
        rules: which streams the client may subscribe to.
        events: names of events that have handlers.

    Attributes:
        identity: of the last valid token, with the member id once that is known; None before the first token. Whose
            connection it is and until when is held here only.
        streams: the client's streams, in the order subscribed. The list is changed in place: the router reads it. It is
            a list because a dictionary takes four times the memory; a search among 200 names takes 2 µs.
        notices: whether the client receives operators' notices.
        marks: whether streams of trades have marks (docs/protocol.md, "Trades across a cut").
    """

    __slots__ = ("_events", "_failures", "_rules", "dialect", "identity", "marks", "notices", "streams")

    def __init__(self, dialect: Dialect, rules: SubscriptionRules, events: Container[str] = ()) -> None:
        self.dialect, self._rules, self._events = dialect, rules, events
        self.identity: Identity | None = None
        self.streams: list[str] = []
        self.notices = self.marks = False
        self._failures = 0

    def open(
        self,
        identity: Identity | None,
        names: Iterable[str],
        resume: str | None = None,
        notices: bool = False,
        after: Marks | None = None,
    ) -> list[Action]:
        """Return the first actions of a ranger connection.

        Args:
            identity: of the token in the handshake; None without one.
            names: the streams of the query.
            resume: the query's `resume`: a cursor, `1` or `true` to begin, or nothing.
            notices: whether the query asks for operators' notices.
            after: the query's marks; None if it does not ask for marks.
        """
        self.notices, self.identity, self.marks = notices, identity, after is not None
        actions = self._subscribe(list(names), after or {})
        if identity is None:
            return actions
        if not resume:
            return [AwaitBroker(), Admit(identity), *actions, GoLive()]
        *subscribing, reply = actions
        assert isinstance(reply, Reply | Follow)
        cursor = None if resume in ("1", "true") else resume
        follow = reply if isinstance(reply, Follow) else None
        return [Admit(identity), *subscribing, Resume(reply.payload, cursor, follow=follow)]

    # ---- inputs

    def receive(self, text: str) -> list[Action]:
        """Return the actions for a text message of the client."""
        if self.dialect is Dialect.RANGER and (word := text.strip()) in ("", "ping"):
            return [Reply(encoding.PONG)] if word else []
        try:
            message: Any = _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            return [Reply(encoding.not_understood(self.dialect, str(error)))]
        if not isinstance(message, dict):
            return [Reply(encoding.not_understood(self.dialect, "it is not a JSON object"))]
        echo = echo_in(text) if "echo" in message else b""
        return _with_echo(self._read(message, echo), echo)

    def on_verified(self, verify: Verify, identity: Identity | None) -> list[Action]:
        """Return the actions for a verified token, or, with None, for one that does not verify."""
        return _with_echo(self._on_token(verify, identity), verify.echo)

    def on_postponed(self, verify: Verify, why: str, seconds: int) -> list[Action]:
        """Return the actions for a token that cannot be verified for some seconds.

        The token may be valid, so the reply does not say that it failed. An authenticated client stays connected.
        """
        if self.identity is None:
            return [HangUp(Close.FULL, retry_reason(why, seconds))]
        return _with_echo([Reply(encoding.try_later(why, seconds))], verify.echo)

    def on_member_id(self, number: int | None) -> None:
        """Add the member id to the identity: the token did not have it."""
        if self.identity is not None and number is not None:
            self.identity = dataclasses.replace(self.identity, member_id=number)

    # ---- messages

    def _read(self, message: dict[str, Any], echo: bytes) -> list[Action]:
        if "jwt" in message:
            return self._on_jwt(message, echo)
        match message.get("event"):
            case "subscribe" | "unsubscribe" as event:
                return self._on_streams(event, message.get("streams"), message)
            case str() as name if name in self._events:
                return [Call(name, message, echo)]
        return [Reply(encoding.unknown_event(self.dialect))]

    def _on_jwt(self, message: dict[str, Any], echo: bytes) -> list[Action]:
        value = message["jwt"]
        scheme, _, token = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
        if scheme.lower() != "bearer":
            return [Reply(encoding.NO_BEARER)]
        return [Verify(token.strip(), message.get("resume"), bool(message.get("notices")), echo)]

    def _on_streams(self, event: str, names: object, message: dict[str, Any]) -> list[Action]:
        if names is None:
            return [Reply(encoding.NO_STREAMS)]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return [Reply(encoding.STREAMS_NOT_TEXTS)]
        if event == "unsubscribe":
            dropped = self._drop(set(names).intersection(self.streams))
            return [*dropped, Reply(encoding.unsubscribed(self.streams))]
        after = message.get("after", {})
        if not _are_marks(after):
            return [Reply(encoding.AFTER_NOT_MARKS)]
        self.marks |= "after" in message
        before = len(self.streams)
        actions = self._subscribe(names, after)
        if any(kind_of(name) is Kind.PRIVATE for name in self.streams[before:]):
            actions.append(Replay())
        return actions

    # ---- tokens

    def _on_token(self, verify: Verify, identity: Identity | None) -> list[Action]:
        known = self.identity
        if identity is None or (known is not None and known.uid != identity.uid):
            return self._fail()
        self.identity, self.notices = identity, self.notices or verify.notices
        replies: list[Action] = [Reply(encoding.AUTHENTICATED)]
        if resumes := bool(verify.resume):
            cursor = verify.resume if isinstance(verify.resume, str) else None
            replies = [Resume(encoding.AUTHENTICATED, cursor, verify.echo)]
        if known is not None:
            if known.member_id is None:
                replies.insert(0, FindMemberId(identity))
            else:
                self.on_member_id(known.member_id)
            return [*self._drop_forbidden(), *replies]
        return [Admit(identity), *replies] if resumes else [AwaitBroker(), Admit(identity), *replies, GoLive()]

    def _fail(self) -> list[Action]:
        self._failures += 1
        actions: list[Action] = [Reply(encoding.AUTHENTICATION_FAILED)]
        if self._failures >= MAX_FAILURES:
            actions.append(HangUp(Close.POLICY, TOO_MANY_FAILURES))
        return actions

    # ---- streams

    def _subscribe(self, names: list[str], after: Marks) -> list[Action]:
        has = set(self.streams)
        new = dict.fromkeys(name for name in names if name not in has)
        again = dict.fromkeys(name for name in names if name in has and name.endswith("-inc"))
        actions: list[Action] = []
        if not self._rules.is_room(len(has), len(new)):
            actions.append(Reply(encoding.too_many_streams(self._rules.most)))
            new.clear()
        taken = self._permitted(new, actions)
        if taken:
            self.streams += taken
            actions.append(Subscribe(tuple(taken)))
        if again:
            actions.append(SendBooks(tuple(again)))
        actions.append(self._subscribed(names, has, after))
        return actions

    def _subscribed(self, names: list[str], before: set[str], after: Marks) -> Action:
        """Return the reply to a subscription.

        Args:
            before: the streams that the client had.
        """
        reply = encoding.subscribed(self.streams)
        if not self.marks:
            return Reply(reply)
        has = set(self.streams)
        current = [name for name in dict.fromkeys(names) if name in has]
        known = {name: None if name in before else after.get(name) for name in current if is_trades(name)}
        lacking = tuple(name for name in current if name in after and known.get(name) is None)
        return Follow(reply, tuple(known.items()), lacking) if known or lacking else Reply(reply)

    def _permitted(self, new: Iterable[str], actions: list[Action]) -> list[str]:
        """Return the streams that the client may have. Append the answers for the others to `actions`."""
        permitted: list[str] = []
        held, is_room = len(self.streams), True
        for name in new:
            if self.dialect is Dialect.CLASSIC and kind_of(name) is Kind.PRIVATE:
                continue  # a classic client receives its member's events anyway
            match self._rules.check(name, self.identity, held + len(permitted)):
                case str() as kept:
                    permitted.append(kept)
                case Denial.FORBIDDEN:
                    actions.append(Reply(encoding.cannot_subscribe(name)))
                case Denial.NO_ROOM:
                    is_room = False
                case Denial.ANONYMOUS:
                    pass  # left out of the reply, as Ranger does
        if not is_room:
            actions.append(Reply(encoding.NO_ROOM_FOR_NAMES))
        return permitted

    def _drop_forbidden(self) -> list[Action]:
        """Drop streams that the role of a newer token does not allow."""
        return self._drop(name for name in self.streams if not self._rules.is_permitted(name, self.identity))

    def _drop(self, names: Iterable[str]) -> list[Action]:
        gone = set(names)
        dropped = tuple(name for name in self.streams if name in gone)
        self.streams[:] = [name for name in self.streams if name not in gone]
        return [Unsubscribe(dropped)] if dropped else []


def _with_echo(actions: list[Action], echo: bytes) -> list[Action]:
    """Add the `echo` of the client's message to each reply."""
    if not echo:
        return actions
    return [_echoing(action, echo) for action in actions]


def _echoing(action: Action, echo: bytes) -> Action:
    match action:
        case Reply(payload):
            return Reply(encoding.with_echo(payload, echo))
        case Follow():
            return dataclasses.replace(action, echo=echo)
    return action


def _are_marks(after: object) -> bool:
    return isinstance(after, dict) and all(mark is None or isinstance(mark, str) for mark in after.values())
