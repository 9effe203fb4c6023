"""Exceptions of the package, as one tree. Close codes are in `close_codes.py`.

PeatioWsError
├── ConfigurationError     faults of the environment, all of them; ends the process before it serves
├── BadDelivery            a message of the broker that cannot be read: dropped and counted
├── AuthenticationError    a token that does not verify: answered, the connection stays
├── TryLater               a token that cannot be verified now, which is not its fault: answered with a time
├── Refused                a handshake that is answered with plain HTTP instead of an upgrade
├── ClientError            what a client asks for cannot be: it is told why, and stays
├── PublishError           a message that the broker did not take, as far as is known
└── Disconnect             a connection that has to end: its close code and reason
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from peatio_ws.close_codes import REASONS, Close, later_reason


class PeatioWsError(Exception):
    """Root of the package's exceptions."""


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """A fault of the environment. `str()` of it is one line for people; programs read the other attributes.

    Attributes:
        text: names the variable and says what is wrong with it, and, where there is no remedy, what to do.
        variables: the variables that are at fault.
        remedy: what to do.
        code: what kind of fault it is, where a program makes a difference.
    """

    text: str
    variables: tuple[str, ...] = ()
    remedy: str = ""
    code: FaultCode | None = None

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


class FaultCode(enum.StrEnum):
    """Kinds of faults that a program treats differently."""

    KEY_UNUSABLE = "key_unusable"
    """The key and `JWT_ALGORITHM` do not go together."""
    ADDRESS_IN_USE = "address_in_use"
    """Another process listens there."""


class ConfigurationError(PeatioWsError):
    """Faults of the environment.

    Args:
        faults: all of them; a text is a fault without a code.

    Attributes:
        faults: all of them.
    """

    def __init__(self, faults: Sequence[Fault | str]) -> None:
        self.faults = [Fault(fault) if isinstance(fault, str) else fault for fault in faults]
        super().__init__("\n".join(map(str, self.faults)))


class BadDelivery(PeatioWsError):
    """A delivery that cannot be read.

    Args:
        reason: a word for the counter's label, from a fixed set (`json`, `shape`, `owner`, `no_owner`, `routing_key`,
            `exchange`).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TokenFault(enum.StrEnum):
    """Why a token does not verify."""

    MALFORMED = "malformed"
    CLAIM_MISSING = "claim_missing"
    CLAIM_UNREADABLE = "claim_unreadable"
    """A claim has no value of its kind: a blank `uid`, a time that is no number."""
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    KEY_UNKNOWN = "key_unknown"
    """The token's `kid` names no key of the set."""
    NO_KEY = "no_key"
    """This gateway has no key at all yet."""
    EXPIRED = "expired"
    ISSUED_LATER = "issued_later"
    NOT_VALID_YET = "not_valid_yet"
    AUDIENCE = "audience"
    ISSUER = "issuer"
    SUBJECT = "subject"
    STATE = "state"


class AuthenticationError(PeatioWsError):
    """A token that does not verify.

    Args:
        reason: why, in a few words that hold nothing of the token; for the log and for `check --token`, never for the
            client.
        code: why, for programs.
        key_missing: the key may be one that this gateway does not have yet: that is no fault of who sent the token.
    """

    def __init__(self, reason: str, code: TokenFault = TokenFault.MALFORMED, key_missing: bool = False) -> None:
        super().__init__(reason)
        self.code, self.key_missing = code, key_missing


class TryLater(PeatioWsError):
    """The gateway cannot say yet whether a token is good.

    Args:
        text: why, in a few words for the client.
        seconds: when to try again.
    """

    def __init__(self, text: str, seconds: int) -> None:
        super().__init__(text)
        self.text, self.seconds = text, seconds


class Refused(PeatioWsError):
    """A handshake that is answered with HTTP.

    Args:
        status: status line without the version, for example `403 Forbidden`.
        text: the body, one line for a person.
        headers: more response headers.
        close: the code for a connection that has been upgraded already (the stock worker sends the 101 first).
    """

    def __init__(
        self, status: str, text: str, headers: tuple[tuple[str, str], ...] = (), close: Close = Close.POLICY
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.close = status, text, headers, close

    @property
    def reason(self) -> str:
        """The reason for a close frame, with the time of `Retry-After`."""
        later = dict(self.headers).get("Retry-After")
        return later_reason(self.text.rstrip("."), int(later)) if later else self.text


class ClientError(PeatioWsError):
    """What a client asks for cannot be; raise it from a handler.

    Where it comes out of a handler of events, the text is answered as an error in the client's dialect, and the
    connection stays; where it comes out of a handler of a path, it ends the connection with 1008 and the text.

    Args:
        text: for the client.
    """


class PublishError(PeatioWsError):
    """The broker did not take a message, or nobody knows whether it did.

    Args:
        text: what is wrong and what to do.
    """


class Disconnect(PeatioWsError):
    """Ends a connection with a close frame; raise it from a handler or hand it to `WebSocket.close`.

    Args:
        code: a close code; one that may not be sent (RFC 6455 section 7.4) is a ValueError.
        reason: what the client reads, at most 123 bytes of UTF-8.
    """

    def __init__(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"{code} may not be sent as a close code; take 1000 to 1003, 1007 to 1014 or 3000 to 4999")
        text = REASONS.get(Close(code), "") if reason is None and code in Close.__members__.values() else reason or ""
        super().__init__(code, text)
        self.code, self.reason = int(code), text
