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
        issued: Unix time in seconds.
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
        self._tokens: dict[tuple[str, str], float] = {}  # until when
        self._members: dict[str, tuple[float, float]] = {}  # issued until when, until when
        self.full = False

    def __len__(self) -> int:
        return len(self._tokens) + len(self._members)

    def add(self, revocation: Revocation, now: float) -> bool:
        """Add a revocation. Return whether it was new.

        Args:
            now: Unix time in seconds.
        """
        uid, jti, until, issued = revocation.uid, revocation.jti, revocation.until, revocation.issued
        if until <= now:
            return False
        if jti is not None:
            new = self._tokens.get((uid, jti), 0.0) < until
        else:
            known_issued, known_until = self._members.get(uid, (0.0, 0.0))
            new = known_issued < issued or known_until < until
            issued, until = max(known_issued, issued), max(known_until, until)
        if not new:
            return False
        if len(self) >= REVOCATIONS_KEPT and not self._make_room(now):
            self.full = True
            return False
        if jti is not None:
            self._tokens[uid, jti] = until
        else:
            self._members[uid] = (issued, until)
        return True

    def is_revoked(self, identity: Identity, now: float) -> bool:
        """Return whether the token of this identity is revoked; False for an identity without a token."""
        if not identity.jti or not (self._tokens or self._members):
            return False
        if self._tokens.get((identity.uid, identity.jti), 0.0) > now:
            return True
        issued, until = self._members.get(identity.uid, (0.0, 0.0))
        return until > now and identity.issued - self._leeway <= issued

    def known(self, now: float) -> Iterator[Revocation]:
        """Yield all revocations in force, to be stored."""
        for (uid, jti), until in self._tokens.items():
            if until > now:
                yield Revocation(uid, until, jti)
        for uid, (issued, until) in self._members.items():
            if until > now:
                yield Revocation(uid, until, None, issued)

    def _make_room(self, now: float) -> bool:
        self._tokens = {key: until for key, until in self._tokens.items() if until > now}
        self._members = {uid: times for uid, times in self._members.items() if times[1] > now}
        return len(self) < REVOCATIONS_KEPT
