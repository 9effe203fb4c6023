"""Tokens that an operator revoked: they are rejected although they verify, until they expire.

Pure: callers pass the time. `redis_commands.py` brings revocations to a worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from peatio_ws.auth.identity import Identity

REVOCATIONS_KEPT: Final = 100_000
"""Maximum per worker: about 25 MB."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""A uid, or the `jti` of a token."""


class Revocation(msgspec.Struct, frozen=True):
    """An operator's revocation of one token, or of all tokens of a member.

    Attributes:
        until: when the revocation can be forgotten because all its tokens have expired; Unix time in seconds.
        jti: the id of the revoked token; None if all tokens issued until `issued` are revoked.
        issued: Unix time in seconds; of a revoked token, when it was revoked (0 from versions that did not say).
    """

    uid: Name
    until: float
    jti: Name | None = None
    issued: float = 0.0


_decoder = msgspec.json.Decoder(Revocation)


def read(data: bytes) -> Revocation | None:
    """Decode a stored revocation; None for any other data."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Revocations:
    """The revocations in force. Bounded; each is forgotten when its tokens have expired.

    Args:
        leeway: seconds by which the token issuer's clock may be ahead of the operator's.

    Attributes:
        full: whether a revocation was rejected because the limit was reached.
    """

    def __init__(self, leeway: float = 0.0) -> None:
        self._leeway = leeway
        # By uid and jti (None: all tokens of the member): issued until when, until when.
        self._known: dict[tuple[str, str | None], tuple[float, float]] = {}
        self._cancelled: dict[tuple[str, str | None], tuple[float, float]] = {}
        self.full = False

    def __len__(self) -> int:
        return len(self._known)

    def add(self, revocation: Revocation, now: float) -> bool:
        """Add a revocation, unless it was cancelled. Return whether it was new.

        Args:
            now: Unix time in seconds.
        """
        key, issued, until = (revocation.uid, revocation.jti), revocation.issued, revocation.until
        if until <= now or issued <= self._cancelled.get(key, _NEVER)[0]:
            return False
        known_issued, known_until = self._known.get(key, _NEVER)
        if known_issued >= issued and known_until >= until:
            return False
        if len(self) >= REVOCATIONS_KEPT and not self._make_room(now):
            self.full = True
            return False
        self._known[key] = (max(known_issued, issued), max(known_until, until))
        return True

    def cancel(self, revocation: Revocation, now: float) -> bool:
        """Accept again what a revocation and earlier ones of the same tokens refuse. Return whether this was new.

        It is remembered until the revocation expires, because a worker that missed it may store the revocation again.
        """
        key = (revocation.uid, revocation.jti)
        issued, until = self._cancelled.get(key, _NEVER)
        if revocation.until <= now or (issued >= revocation.issued and until >= revocation.until):
            return False
        if len(self._cancelled) >= REVOCATIONS_KEPT:
            self._cancelled = {one: times for one, times in self._cancelled.items() if times[1] > now}
        if len(self._cancelled) < REVOCATIONS_KEPT:
            self._cancelled[key] = (max(issued, revocation.issued), max(until, revocation.until))
        if self._known.get(key, _NEVER)[0] <= revocation.issued:
            self._known.pop(key, None)
        return True

    def is_revoked(self, identity: Identity, now: float) -> bool:
        """Return whether the token of this identity is revoked; False for an identity without a token."""
        if not identity.jti or not self._known:
            return False
        if self._known.get((identity.uid, identity.jti), _NEVER)[1] > now:
            return True
        issued, until = self._known.get((identity.uid, None), _NEVER)
        return until > now and identity.issued - self._leeway <= issued

    def known(self, now: float) -> Iterator[Revocation]:
        """Yield all revocations in force, to be stored."""
        for (uid, jti), (issued, until) in self._known.items():
            if until > now:
                yield Revocation(uid, until, jti, issued)

    def _make_room(self, now: float) -> bool:
        self._known = {key: times for key, times in self._known.items() if times[1] > now}
        return len(self) < REVOCATIONS_KEPT


_NEVER: Final = (-1.0, 0.0)
