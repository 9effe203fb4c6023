"""A set of keys as an issuer publishes it (RFC 7517), and which of them a token is verified with.

Knows neither where the set comes from nor when; that is `jwks_refresh.py`'s.
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
"""Of a set: some hundred keys with their certificates."""
_PRIVATE: Final = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth"))
"""Members of a JWK that only the private half has (RFC 7518 sections 6.2.2 and 6.3.2)."""
_LONGEST_KID: Final = 80
"""Characters that are shown of one."""
_NAMES: Final = {"EdDSA": ("EdDSA", "Ed25519")}
"""What `alg` may say beside the algorithm's own name (RFC 9864)."""
_KINDS: Final[dict[str, Any]] = {
    "RSA": jwt.algorithms.RSAAlgorithm,
    "EC": jwt.algorithms.ECAlgorithm,
    "OKP": jwt.algorithms.OKPAlgorithm,
}


class NamedKey(NamedTuple):
    """A key of a set; `kid` is None where the set gives it no name."""

    kid: str | None
    key: PublicKey


class KeySet(NamedTuple):
    """What a set comes to.

    Attributes:
        keys: those that the algorithm can use.
        ignored: the others, a line each: which, and why.
        exposed: such lines of keys that should never have been published.
    """

    keys: tuple[NamedKey, ...]
    ignored: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()


def parse_key_set(data: bytes, algorithm: str) -> KeySet:
    """Read a JWK set.

    Args:
        data: JSON, as it came.
        algorithm: one of `ALGORITHMS` but HS256; a key that does not fit it is ignored.

    Raises:
        ValueError: it is none; what is wrong, in words.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"is larger than the {MOST_BYTES} bytes that a set of keys may have")
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("is no JSON") from None
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list):
        raise ValueError('is no set of keys, {"keys":[…]} (RFC 7517 section 5)')
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
    """A key's name as it may stand in one line."""
    if kid is None:
        return "without a kid"
    text = kid[:_LONGEST_KID]
    return repr(text) + ("…" if text != kid else "")


def _public_key(member: Any, algorithm: str) -> PublicKey:
    """Raises ValueError: why it is not for us."""
    if not isinstance(member, dict):
        raise ValueError("is no object")
    kind = member.get("kty")
    if kind == "oct":
        raise ExposedKey("is a shared secret (oct), which has no place in a set that others read; change it")
    if _PRIVATE & member.keys():
        raise ExposedKey("is a private key; publish its public half only, and change that pair: it has been exposed")
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
        raise ValueError(f"is no key of the kind {kind} that its members make it out to be") from None
    return fitting(known(key), algorithm)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that count at a moment.

    Attributes:
        fixed: of `JWT_PUBLIC_KEY` and `JWT_PUBLIC_KEYS`; they have no names.
        published: of the set.
    """

    fixed: Sequence[PublicKey] = ()
    published: Sequence[NamedKey] = ()

    def for_token(self, kid: object) -> Sequence[PublicKey]:
        """The keys to try, in turn.

        A name that the set has means the set's key and no other. Any other name means a fixed key, for the issuer may
        give names to those too. Without a name it may be any.
        """
        if kid is None:
            return (*self.fixed, *(named.key for named in self.published))
        return [named.key for named in self.published if named.kid == kid] or self.fixed

    def publishes(self, kid: object) -> bool:
        """Whether the set has a key of this name; for None, any key at all."""
        return any(kid is None or named.kid == kid for named in self.published)
