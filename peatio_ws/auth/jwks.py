"""A JWK set as an issuer publishes it (RFC 7517), and the choice of the key that verifies a token.

Does not know where the set comes from, or when; see `jwks_refresh.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from peatio_ws.auth.keys import ExposedKey, PublicKey, fitting, known

MOST_BYTES: Final = 262_144
"""Maximum size of a set: enough for some hundred keys with their certificates."""
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth"))
"""Members of a JWK that only the private half has (RFC 7518 sections 6.2.2 and 6.3.2)."""
_LONGEST_KID: Final = 80
"""Characters of a kid that are logged."""
_NAMES: Final = {"EdDSA": ("EdDSA", "Ed25519")}
"""Values of `alg` that are accepted for an algorithm with more than one name (RFC 9864)."""
_KINDS: Final[dict[str, Any]] = {
    "RSA": jwt.algorithms.RSAAlgorithm,
    "EC": jwt.algorithms.ECAlgorithm,
    "OKP": jwt.algorithms.OKPAlgorithm,
}


class NamedKey(NamedTuple):
    """A key of a set. `kid` is None if the set does not name the key."""

    kid: str | None
    key: PublicKey


class KeySet(NamedTuple):
    """The keys of a parsed set.

    Attributes:
        keys: keys that the algorithm can use.
        ignored: one line for each key that is not used: which key, and why.
        exposed: one line for each key that should never have been published.
    """

    keys: tuple[NamedKey, ...]
    ignored: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()


def parse_key_set(data: bytes, algorithm: str) -> KeySet:
    """Parse a JWK set.

    Args:
        data: JSON, as received.
        algorithm: one of `ALGORITHMS` except HS256; keys that do not fit it are ignored.

    Raises:
        ValueError: the data is not a JWK set; the text says what is wrong.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"is larger than the {MOST_BYTES} bytes that a set of keys may have")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError('is not JSON; it has to be a JWK set, {"keys":[…]} (RFC 7517 section 5)') from None
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise ValueError('is not a JWK set, {"keys":[…]} (RFC 7517 section 5)')
    keys: list[NamedKey] = []
    ignored: list[str] = []
    exposed: list[str] = []
    for number, member in enumerate(members, 1):
        try:
            keys.append(NamedKey(_kid(member), _public_key(member, algorithm)))
        except ValueError as error:
            lines = exposed if isinstance(error, ExposedKey) else ignored
            lines.append(f"key {_shown(member, number)} {error}")
    return KeySet(tuple(keys), tuple(ignored), tuple(exposed))


def _kid(member: Any) -> str | None:
    kid = member.get("kid") if isinstance(member, dict) else None
    return kid if isinstance(kid, str) else None


def _shown(member: Any, number: int) -> str:
    kid = _kid(member)
    return str(number) if kid is None else shown_kid(kid)


def shown_kid(kid: str | None) -> str:
    """Return a key id for the log: one line, limited in length."""
    if kid is None:
        return "without a kid"
    text = kid[:_LONGEST_KID]
    return repr(text) + ("…" if text != kid else "")


def _public_key(member: Any, algorithm: str) -> PublicKey:
    """Return the public key. Raises ValueError with the reason if it cannot be used."""
    if not isinstance(member, dict):
        raise ValueError("is not a JSON object")
    kind = member.get("kty")
    if kind == "oct":
        raise ExposedKey("is a shared secret (oct), which must not be published; replace it")
    if _PRIVATE & member.keys():
        raise ExposedKey("is a private key, and is now exposed; replace the key pair, and publish only the public half")
    if member.get("use", "sig") != "sig":
        raise ValueError("is not for signatures (use)")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("is not for verifying (key_ops)")
    named = member.get("alg", algorithm)
    if named not in _NAMES.get(algorithm, (algorithm,)):
        raise ValueError(f"is for another algorithm than JWT_ALGORITHM={algorithm} (alg)")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError("is of a kind that no supported algorithm uses (kty)")
    try:
        key = _KINDS[kind].from_jwk(member)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm):
        raise ValueError(f"is not a valid {kind} key") from None
    return fitting(known(key), algorithm)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that are trusted at a moment.

    Attributes:
        fixed: keys of `JWT_PUBLIC_KEY` and `JWT_PUBLIC_KEYS`; they have no names.
        published: keys of the JWK set.
    """

    fixed: Sequence[PublicKey] = ()
    published: Sequence[NamedKey] = ()

    def for_token(self, kid: object) -> Sequence[PublicKey]:
        """Return the keys to try, in this order.

        If the set has a key with this `kid`, only that key is tried. Any other `kid` selects the fixed keys, because
        the issuer may name those too. Without a `kid`, every key is tried.
        """
        if kid is None:
            return (*self.fixed, *(named.key for named in self.published))
        return [named.key for named in self.published if named.kid == kid] or self.fixed

    def publishes(self, kid: object) -> bool:
        """Return whether the set has a key with this `kid`; for None, whether it has any key."""
        return any(kid is None or named.kid == kid for named in self.published)
