"""The protocol of one connection as a state machine: a client's text in, actions out (contract section 1).

Pure: verifying a token, sending and registering are the caller's. It is told how a token turned out with `verdict`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from peatio_ws import dialects
from peatio_ws.auth import Identity
from peatio_ws.dialects import Dialect
from peatio_ws.errors import Close

MAX_FAILURES: Final = 5
"""Failed authentications of one connection; the last is answered, then the connection is closed (1008)."""


class State(enum.Enum):
    ANONYMOUS = "anonymous"
    AUTHENTICATED = "authenticated"


class Input(enum.Enum):
    """What a message of the client comes to."""

    TOKEN = "a token that verified"
    TOKEN_OF_ANOTHER = "a token that verified, for another uid than before"
    BAD_TOKEN = "a token that did not verify"
    NO_BEARER = "a jwt that is no text or has not the scheme Bearer"
    NOT_UNDERSTOOD = "anything else"


@dataclass(frozen=True, slots=True)
class Verify:
    """Check this token, then call `Session.verdict`."""

    token: str


@dataclass(frozen=True, slots=True)
class Admit:
    """From now on this client gets its member's events. Comes before the reply that says so, and nothing may be sent
    to the client in between."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Renew:
    """The same member showed a newer token; its expiry counts."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this JSON text to the client."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection."""

    code: Close
    reason: str


Action: TypeAlias = Verify | Admit | Renew | Reply | HangUp


class _Step(NamedTuple):
    state: State
    reply: bytes
    failure: bool = False


_TABLE: Final = {
    (State.ANONYMOUS, Input.TOKEN): _Step(State.AUTHENTICATED, dialects.AUTHENTICATED),
    (State.ANONYMOUS, Input.BAD_TOKEN): _Step(State.ANONYMOUS, dialects.AUTHENTICATION_FAILED, failure=True),
    (State.ANONYMOUS, Input.NO_BEARER): _Step(State.ANONYMOUS, dialects.NO_BEARER),
    (State.ANONYMOUS, Input.NOT_UNDERSTOOD): _Step(State.ANONYMOUS, dialects.NOT_UNDERSTOOD),
    (State.AUTHENTICATED, Input.TOKEN): _Step(State.AUTHENTICATED, dialects.AUTHENTICATED),
    (State.AUTHENTICATED, Input.TOKEN_OF_ANOTHER): _Step(
        State.AUTHENTICATED, dialects.AUTHENTICATION_FAILED, failure=True
    ),
    (State.AUTHENTICATED, Input.BAD_TOKEN): _Step(State.AUTHENTICATED, dialects.AUTHENTICATION_FAILED, failure=True),
    (State.AUTHENTICATED, Input.NO_BEARER): _Step(State.AUTHENTICATED, dialects.NO_BEARER),
    (State.AUTHENTICATED, Input.NOT_UNDERSTOOD): _Step(State.AUTHENTICATED, dialects.NOT_UNDERSTOOD),
}
"""Every pair that can come; (ANONYMOUS, TOKEN_OF_ANOTHER) cannot."""

_decode = msgspec.json.Decoder().decode


class Session:
    """State of one connection's protocol.

    Attributes:
        identity: of the last valid token; None before the first.
    """

    __slots__ = ("_failures", "dialect", "identity", "state")

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.state = State.ANONYMOUS
        self.identity: Identity | None = None
        self._failures = 0

    def receive(self, text: str) -> list[Action]:
        """What to do about a text message of the client."""
        try:
            message: Any = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            message = None
        if not isinstance(message, dict) or "jwt" not in message:
            return self._step(Input.NOT_UNDERSTOOD)
        token = message["jwt"]
        scheme, _, token = token.strip().partition(" ") if isinstance(token, str) else ("", "", "")
        if scheme.lower() != "bearer":
            return self._step(Input.NO_BEARER)
        return [Verify(token.strip())]

    def verdict(self, identity: Identity | None) -> list[Action]:
        """What to do now that the token turned out to be this identity's, or nobody's (None)."""
        if identity is None:
            return self._step(Input.BAD_TOKEN)
        if self.identity is not None and self.identity.uid != identity.uid:
            return self._step(Input.TOKEN_OF_ANOTHER)
        first, self.identity = self.identity is None, identity
        return [Admit(identity) if first else Renew(identity), *self._step(Input.TOKEN)]

    def _step(self, what: Input) -> list[Action]:
        step = _TABLE[self.state, what]
        self.state = step.state
        actions: list[Action] = [Reply(step.reply)]
        if step.failure:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                actions.append(HangUp(Close.POLICY, "too many failed authentications"))
        return actions
