"""Which tokens are refused though they verify: those that an operator revoked, until they have expired.

Pure: the time is handed in. How a worker comes to know of them is `redis_commands.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from peatio_ws.auth.identity import Identity

REVOCATIONS_KEPT: Final = 100_000
"""A worker knows so many at most: some 25 MB."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""A uid, or the `jti` of a token."""


class Revocation(msgspec.Struct, frozen=True):
    """An operator's word about tokens of a member.

    Attributes:
        until: when it may be forgotten, as Unix time in seconds: when the last of these tokens has expired.
        jti: of the one token that is meant; None if all are that were issued until `issued`.
        issued: Unix time in seconds.
    """

    uid: Name
    until: float
    jti: Name | None = None
    issued: float = 0.0


_decoder = msgspec.json.Decoder(Revocation)


def read(data: bytes) -> Revocation | None:
    """A revocation as it was written down; None for anything else."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Revocations:
    """Those that count. Bounded, and each is forgotten in its time.

    Args:
        leeway: seconds by which the clock of who issues tokens may be ahead of the operator's.

    Attributes:
        full: whether one was not taken for want of room.
    """

    def __init__(self, leeway: float = 0.0) -> None:
        self._leeway = leeway
        self._tokens: dict[tuple[str, str], float] = {}  # until when
        self._members: dict[str, tuple[float, float]] = {}  # issued until when, until when
        self.full = False

    def __len__(self) -> int:
        return len(self._tokens) + len(self._members)

    def add(self, revocation: Revocation, now: float) -> bool:
        """Take one in; whether that says anything new.

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
        """Whether this identity's token is one of those. Where no token says who it is, there is none to refuse."""
        if not identity.jti or not (self._tokens or self._members):
            return False
        if self._tokens.get((identity.uid, identity.jti), 0.0) > now:
            return True
        issued, until = self._members.get(identity.uid, (0.0, 0.0))
        return until > now and identity.issued - self._leeway <= issued

    def known(self, now: float) -> Iterator[Revocation]:
        """All that count, to be written down."""
        for (uid, jti), until in self._tokens.items():
            if until > now:
                yield Revocation(uid, until, jti)
        for uid, (issued, until) in self._members.items():
            if until > now:
                yield Revocation(uid, until, None, issued)

    def _make_room(self, now: float) -> bool:
        self._tokens = {key: until for key, until in self._tokens.items() if until > now}
        self._members = {uid: word for uid, word in self._members.items() if word[1] > now}
        return len(self) < REVOCATIONS_KEPT
