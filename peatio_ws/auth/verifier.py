"""Verifies tokens: returns the identity, or raises an error with the reason (contract section 4).

Pure: callers pass the time, and nothing is fetched. Does not decide what an identity is allowed to do.
"""

from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from jwt.api_jws import PyJWS
from jwt.exceptions import InvalidSubjectError

from peatio_ws.auth.identity import MOST_UID_BYTES, Identity, is_text, is_uid, member_id_of
from peatio_ws.auth.jwks import KeyRing
from peatio_ws.auth.keys import PublicKey
from peatio_ws.errors import AuthenticationError, TokenFault

MAX_TOKEN_CHARACTERS: Final = 8192
_REQUIRED: Final = ["exp", "iat", "jti", "sub", "uid"]


@dataclass(frozen=True, slots=True, repr=False)  # a key may be a secret
class TokenRules:
    """Which tokens are valid, and where their keys come from. `Settings.token_rules` makes it.

    Attributes:
        algorithm: the only accepted signature algorithm, for example RS256.
        keys: public keys from the environment.
        jwks_url, jwks_file: where the issuer publishes a JWK set; at most one of them is set.
        jwks_refresh: seconds between two reads of that set.
        issuer, audience: required values of `iss` and `aud`; None and () accept any.
        member_id_claim: the claim that holds Peatio's numeric member id.
        expiration_leeway, not_before_leeway, issued_at_leeway: allowed clock difference in seconds.
    """

    algorithm: str
    keys: tuple[PublicKey, ...]
    jwks_url: str | None
    jwks_file: Path | None
    jwks_refresh: float
    issuer: str | None
    audience: tuple[str, ...]
    member_id_claim: str
    expiration_leeway: float
    not_before_leeway: float
    issued_at_leeway: float


class Verifier:
    """Verifies tokens with the given keys and rules.

    Verification occupies the thread: 60 µs for RS256, about twice that for ES256 and EdDSA.

    Attributes:
        ring: the current keys. A refresh replaces the whole ring.
    """

    def __init__(self, rules: TokenRules) -> None:
        self._rules = rules
        self._reads_set = bool(rules.jwks_url or rules.jwks_file)
        self.ring = KeyRing(rules.keys)
        self._jwt = jwt.PyJWT()
        self._jwt._jws = self._jws = _Jws(options=self._jwt._jws.options)
        self._algorithms = [rules.algorithm]
        self._options: Any = {
            "require": _REQUIRED,
            # PyJWT has a single leeway for all three times. They are checked below, each with its own leeway.
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
            "verify_aud": bool(rules.audience),
            "verify_iss": rules.issuer is not None,
        }

    def verify(self, token: str, now: float) -> Identity:
        """Verify a token, and return the identity it proves.

        Args:
            token: compact JWS, without the scheme.
            now: Unix time in seconds.

        Raises:
            AuthenticationError: the token does not verify; `str(error)` is the reason. It has the uid if only the
                signature verifies.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise AuthenticationError(f"longer than {MAX_TOKEN_CHARACTERS} characters")
        claims = self._claims(token)
        try:
            return self._identity(claims, now)
        except AuthenticationError as refused:
            refused.uid = _uid(claims)
            raise

    def _identity(self, claims: dict[str, Any], now: float) -> Identity:
        self._check_times(claims, now)
        rules = self._rules
        for name in ("uid", "jti"):
            if not is_text(claims[name]):
                raise AuthenticationError(f"{name} is blank or not a text", TokenFault.CLAIM_UNREADABLE)
        if not is_uid(claims["uid"]):
            raise AuthenticationError(f"uid is longer than {MOST_UID_BYTES} bytes", TokenFault.CLAIM_UNREADABLE)
        if claims.get("state", "active") != "active":
            raise AuthenticationError("state is not active", TokenFault.STATE)
        role = claims.get("role")
        return Identity(
            uid=claims["uid"].strip(),
            member_id=member_id_of(claims.get(rules.member_id_claim)),
            role=role if isinstance(role, str) else "",
            expires=float(claims["exp"]) + rules.expiration_leeway,
            jti=claims["jti"].strip(),
            issued=float(claims["iat"]),
        )

    def _claims(self, token: str) -> dict[str, Any]:
        failure: Exception | None = None
        ring = self.ring
        kid = _kid(token) if self._reads_set or ring.published else None
        keys = ring.for_token(kid)
        if not keys:
            if ring.published:
                raise AuthenticationError("kid names an unknown key", TokenFault.KEY_UNKNOWN, key_missing=True)
            raise AuthenticationError("no key is known yet", TokenFault.NO_KEY, key_missing=True)
        for key in keys:
            try:
                return self._jwt.decode(
                    token,
                    key,
                    algorithms=self._algorithms,
                    options=self._options,
                    audience=self._rules.audience or None,
                    issuer=self._rules.issuer,
                    subject="session",
                )
            except jwt.InvalidSignatureError as error:
                failure = error  # another key may fit
            except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
                # A key that does not fit the token can raise a bare TypeError (PyJWT 2.15.1).
                raise AuthenticationError(*_reason_for(error), uid=self._proven_uid(token, key)) from None
        # The token may be signed with a key that was published after the last read of the set.
        raise AuthenticationError(*_reason_for(failure), key_missing=self._reads_set and not ring.publishes(kid))

    def _proven_uid(self, token: str, key: PublicKey) -> str | None:
        """Return the uid of a token whose claims are refused; None unless this key verifies its signature."""
        try:
            return _uid(json.loads(self._jws.decode(token, key, self._algorithms)))
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
            return None

    def _check_times(self, claims: dict[str, Any], now: float) -> None:
        rules = self._rules
        for name in ("exp", "iat", "nbf"):
            value = claims.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
                raise AuthenticationError(f"{name} is not a number of seconds", TokenFault.CLAIM_UNREADABLE)
        if claims["exp"] + rules.expiration_leeway <= now:
            raise AuthenticationError("expired", TokenFault.EXPIRED)
        if claims["iat"] - rules.issued_at_leeway > now:
            text = "issued in the future (iat); do the clocks agree?"
            raise AuthenticationError(text, TokenFault.ISSUED_LATER)
        if claims.get("nbf", 0) - rules.not_before_leeway > now:
            raise AuthenticationError("not valid yet (nbf); do the clocks agree?", TokenFault.NOT_VALID_YET)


class _Jws(PyJWS):
    """PyJWT's JWS (RFC 7515) without its check of each character, the slowest part of verifying (PyJWT 2.15.1).

    PyJWT's next check, that encoding the decoded bytes gives the same segment, finds the same faults.
    """

    @staticmethod
    def _decode_base64url_segment(segment: bytes, name: str) -> bytes:
        with contextlib.suppress(ValueError):
            decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
            if base64.urlsafe_b64encode(decoded).rstrip(b"=") == segment:
                return decoded
        return PyJWS._decode_base64url_segment(segment, name)  # raises the precise error, or accepts it


def _kid(token: str) -> object:
    """Return the `kid` of a token's header, the name of the key that signed it; None if it has no `kid`.

    The value is not trusted: it only selects one of the trusted keys.
    """
    part = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None  # PyJWT reports it
    return header.get("kid") if isinstance(header, dict) else None


def _uid(claims: Any) -> str | None:
    """Return the uid in the claims of a verified signature; None if it is missing, blank or not a text."""
    uid = claims.get("uid") if isinstance(claims, dict) else None
    return uid.strip() or None if isinstance(uid, str) else None


def _reason_for(error: Exception | None) -> tuple[str, TokenFault]:
    """Return PyJWT's reason as a text and as a code, without content of the token."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"claim {error.claim} is missing", TokenFault.CLAIM_MISSING
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    return f"malformed ({type(error).__name__.removesuffix('Error')})", TokenFault.MALFORMED


_REASONS: Final[dict[type[Exception], tuple[str, TokenFault]]] = {
    jwt.InvalidSignatureError: ("signature does not match the key", TokenFault.SIGNATURE),
    jwt.InvalidAudienceError: ("audience does not match JWT_AUDIENCE", TokenFault.AUDIENCE),
    jwt.InvalidIssuerError: ("issuer does not match JWT_ISSUER", TokenFault.ISSUER),
    InvalidSubjectError: ("subject is not session", TokenFault.SUBJECT),
    jwt.InvalidAlgorithmError: ("algorithm is not JWT_ALGORITHM", TokenFault.ALGORITHM),
}
