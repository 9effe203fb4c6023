"""The exceptions of the package, as one tree. An exception carries its policy: a code for programs, a text and a remedy
for people, the log level, and the label under which metrics count it. So the code that catches it decides nothing.

PeatioWsError              code             logged    counted as
├── ConfigurationError     each fault's     -         -                               the process ends before it serves
├── BadDelivery            DeliveryFault    warning   deliveries{outcome=code}        the delivery is dropped
├── AuthenticationError    TokenFault       info      authentications{outcome}        answered; the connection stays
├── TryLater               Delay            info      authentications{outcome}        answered with a time to retry
├── Refused                HTTP status      info      refused_handshakes{status}      answered with HTTP, not upgraded
├── ClientError            "client_error"   -         -                               answered; the connection stays
├── PublishError           "not_published"  -         -                               raised to the publisher
└── Disconnect             close code       -         closes{code}                    the connection is closed

Exceptions within one package have the base class that their callers expect:

├── ConnectionError
│   ├── SourceUnavailable  `amqp.source`            tried again
│   ├── Reopen             `amqp.source`            opened again at once
│   │   └── Restored       `amqp.source`            the preferred source can be read
│   └── BrokerAlarm        `amqp.stream_markers`    the broker accepts no messages
├── SourceRefused          `amqp.source`            another source is read; carries its remedy
├── ImpossibleInput        `life_cycle`             a bug: the connection or source ends
├── NotFound               `cluster.operator`       an operator named no gateway, or no revocation
├── Idle (BaseException)   `transport.receive`      not an error: the greenlet of an idle client ends
└── ValueError
    ├── SeveralFaults      `config.validation_errors`
    ├── ExposedKey, UnusableKey `auth.keys`
    ├── TooLarge           `transport.headers`
    └── Unreadable         `transport.proxy_protocol`
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from peatio_ws.close_codes import REASONS, Close, retry_reason


class PeatioWsError(Exception):
    """Root of the package's exceptions: neither logged nor counted.

    Attributes:
        code: what happened, for programs. Decisions read this, never a text.
        text, remedy: what is wrong and what to do, for people; empty if there is nothing to say.
        event: the log event.
        level: the level of the log line; None if it is not logged.
        label: the label value under which metrics count it.
        close: the close code of a connection that it ends; None if it ends none.
    """

    code: object = None
    text = remedy = label = ""
    event: ClassVar[str] = ""
    level: str | None = None
    close: int | None = None

    @property
    def advice(self) -> str:
        """The text and the remedy, in one line."""
        return "; ".join(filter(None, (self.text, self.remedy)))


class ErrorCode(enum.Enum):
    """A code with what it means for people: its value, a text, and a remedy."""

    text: str
    remedy: str

    def __new__(cls, value: str, text: str = "", remedy: str = "") -> Self:
        member = object.__new__(cls)
        member._value_, member.text, member.remedy = value, text, remedy
        return member


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """A fault of the environment. `str()` of it is one line for people; programs read the other attributes.

    Attributes:
        text: names the variable and says what is wrong with it. Without a remedy, it also says what to do.
        variables: the variables at fault.
        remedy: what to do.
        code: the kind of fault, where programs treat it differently.
    """

    text: str
    variables: tuple[str, ...] = ()
    remedy: str = ""
    code: FaultCode | None = None

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


class FaultCode(enum.StrEnum):
    """Kinds of faults that programs treat differently."""

    KEY_UNUSABLE = "key_unusable"  # it does not fit `JWT_ALGORITHM`
    ADDRESS_IN_USE = "address_in_use"  # by another process


class ConfigurationError(PeatioWsError):
    """All faults of the environment. A text is a fault without a code."""

    def __init__(self, faults: Sequence[Fault | str]) -> None:
        self.faults = [Fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self.text = "\n".join(map(str, self.faults))
        super().__init__(self.text)


_ROUTING_KEYS: Final = "use private.UID.EVENT, public.MARKET.EVENT, global.EVENT or PREFIX.ID.EVENT"


class DeliveryFault(ErrorCode):
    """Why a delivery cannot be read. The codes are label values of `peatio_ws_deliveries_total`."""

    JSON = "json", "the body is not JSON"
    SHAPE = "shape", "the body is not what Peatio publishes to this exchange"
    OWNER = "owner", "it names no owner that the gateway understands"
    NO_OWNER = "no_owner", "it names no owner"
    """A trade on `peatio.trade` that names no owner. Peatio 2.3 and later publish every trade there, and notify its
    owners with `private.<uid>.trade`."""
    ROUTING_KEY = "routing_key", "the routing key is invalid", _ROUTING_KEYS
    EXCHANGE = "exchange", "it was forwarded from another exchange, and its kind is not clear"


class BadDelivery(PeatioWsError):
    """A delivery that cannot be read. It is dropped and counted."""

    event = "delivery dropped"
    code: DeliveryFault

    def __init__(self, code: DeliveryFault) -> None:
        self.code, self.label, self.text, self.remedy = code, code.value, code.text, code.remedy
        self.level = None if code is DeliveryFault.NO_OWNER else "warning"
        super().__init__(self.text)


class PublishError(PeatioWsError):
    """The broker did not accept a message, or did not confirm it."""

    code = "not_published"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


_CLOCKS: Final = "let NTP set the clocks here and at its issuer"
_ISSUER: Final = "its issuer (Barong) has to correct it; `python -m peatio_ws token` issues complete tokens"


class TokenFault(ErrorCode):
    """Why a token is refused, and what to do."""

    MALFORMED = (
        "malformed",
        "",
        "paste the whole token: three parts of base64, separated by dots",
    )
    CLAIM_MISSING = "claim_missing", "", f"{_ISSUER}. JWT_ISSUER and JWT_AUDIENCE require iss and aud"
    CLAIM_UNREADABLE = "claim_unreadable", "", _ISSUER
    ALGORITHM = "algorithm", "", "set JWT_ALGORITHM to the algorithm of its issuer, and use a matching key"
    SIGNATURE = "signature", "", "JWT_PUBLIC_KEY, or the key set, must contain the public key of its issuer (Barong)"
    KEY_UNKNOWN = "key_unknown", "", "its issuer has to publish that key, ideally a minute before signing with it"
    NO_KEY = "no_key", "", "see the rows above: the key set cannot be read, or is empty"
    EXPIRED = "expired", "", "use a new one: Barong issues one at each login. JWT_EXPIRATION_LEEWAY adds some seconds"
    ISSUED_LATER = "issued_later", "", f"{_CLOCKS}; or set JWT_ISSUED_AT_LEEWAY"
    NOT_VALID_YET = "not_valid_yet", "", f"{_CLOCKS}; or set JWT_NOT_BEFORE_LEEWAY"
    AUDIENCE = "audience", "", "JWT_AUDIENCE must name one of its audiences"
    ISSUER = "issuer", "", "set JWT_ISSUER to its issuer"
    SUBJECT = "subject", "", "use a session token, not the token of an API key"
    STATE = "state", "", "the member is not active at its issuer (Barong)"
    REVOKED = "revoked", "", "the member has to log in again: tokens issued from now on are valid"


class AuthenticationError(PeatioWsError):
    """A token that is refused.

    Args:
        text: why, without any part of the token. For the log and for `check --token`, never for the client.
        code: why, for programs.
        key_missing: whether the gateway may lack the key. The client is then not at fault.
    """

    event = "token refused"
    level = "info"
    code: TokenFault

    def __init__(self, text: str, code: TokenFault = TokenFault.MALFORMED, key_missing: bool = False) -> None:
        super().__init__(text)
        self.text, self.code, self.key_missing = text, code, key_missing
        self.remedy = code.remedy
        self.label = "revoked" if code is TokenFault.REVOKED else "refused"


class Delay(ErrorCode):
    """Why a token cannot be verified now. The codes are label values of `peatio_ws_authentications_total`."""

    NO_KEY = "postponed", "no key to verify this token with yet"
    TOO_MANY_FAILURES = "limited", "too many tokens from this address failed"


class TryLater(PeatioWsError):
    """The gateway cannot say yet whether a token is valid.

    Args:
        seconds: when to try again.

    Attributes:
        text: for the client.
        status: of the HTTP answer to a request with the token.
    """

    event = "token cannot be verified yet"
    code: Delay

    def __init__(self, code: Delay, seconds: int) -> None:
        self.code, self.seconds, self.label, self.text = code, seconds, code.value, code.text
        limited = code is Delay.TOO_MANY_FAILURES
        self.status = "429 Too Many Requests" if limited else "503 Service Unavailable"
        self.level = None if limited else "info"  # a limit is logged once a minute, see `monitoring.limits`
        super().__init__(self.text)

    def refusal(self) -> Refused:
        """Return the HTTP answer to a request with the token."""
        headers = (("Retry-After", str(self.seconds)),)
        return Refused(self.status, f"{self.text.capitalize()}.", headers, Close.FULL)


class Refused(PeatioWsError):
    """A handshake that is answered with HTTP.

    Args:
        status: status line without the version, for example `403 Forbidden`.
        text: the body, one line for people.
        headers: more response headers.
        close: the close code for a connection that has been upgraded already (the stock worker sends the 101 first).
    """

    event = "handshake refused"
    level = "info"
    code: int
    close: int

    def __init__(
        self, status: str, text: str, headers: tuple[tuple[str, str], ...] = (), close: Close = Close.POLICY
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.close = status, text, headers, close
        self.code = int(status.partition(" ")[0])
        self.label = str(self.code)

    @property
    def reason(self) -> str:
        """The reason of a close frame, with the time of `Retry-After`."""
        later = dict(self.headers).get("Retry-After")
        return retry_reason(self.text.rstrip("."), int(later)) if later else self.text


class Disconnect(PeatioWsError):
    """Closes a connection. Raise it from a handler or pass it to `WebSocket.close`.

    Args:
        code: a close code. One that may not be sent (RFC 6455 section 7.4) is a ValueError.
        reason: for the client, at most 123 bytes of UTF-8; by default the code's own.
    """

    code: int
    close: int

    def __init__(self, code: int = Close.NORMAL, reason: str | None = None) -> None:
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"{code} may not be sent as a close code; use 1000 to 1003, 1007 to 1014 or 3000 to 4999")
        known = code in Close.__members__.values()
        self.text = self.reason = REASONS.get(Close(code), "") if reason is None and known else reason or ""
        super().__init__(code, self.reason)
        self.code = self.close = int(code)
        self.label = str(self.code) if known else "other"


class ClientError(PeatioWsError):
    """A request of a client that cannot be granted. Raise it from a handler.

    From an event handler, the text is the error that the client receives, and the connection stays. From a path
    handler, the connection closes with 1008 and the text.

    Args:
        text: for the client.
    """

    code = "client_error"
    close: int = Close.POLICY

    def __init__(self, text: object = "") -> None:
        super().__init__(text)
        self.text = str(text)
