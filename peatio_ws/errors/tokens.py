"""Tokens that are refused, or cannot be verified yet."""

from __future__ import annotations

from typing import Final

from peatio_ws.close_codes import Close
from peatio_ws.errors.base import ErrorCode, PeatioWsError
from peatio_ws.errors.connections import Refused

_CLOCKS: Final = "let NTP set the clocks here and at its issuer"
_ISSUER: Final = "its issuer (Barong) has to correct it; `peatio-ws token` issues complete tokens"


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
        uid: of the member, for the log; None unless the token's signature was verified.
    """

    event = "token refused"
    level = "info"
    code: TokenFault

    def __init__(
        self,
        text: str,
        code: TokenFault = TokenFault.MALFORMED,
        key_missing: bool = False,
        uid: str | None = None,
    ) -> None:
        super().__init__(text)
        self.text, self.code, self.key_missing, self.uid = text, code, key_missing, uid
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
