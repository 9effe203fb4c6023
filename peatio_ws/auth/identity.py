"""The identity that a verified token proves, and what handlers may ask of it.

Pure. Does not know how a token is verified (`verifier.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peatio_ws.errors import ClientError


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a verified token speaks for.

    Attributes:
        uid: Barong's uid.
        member_id: Peatio's numeric id, if the token names it.
        role: for prefixed streams; empty if the token names none.
        expires: end of the token, leeway included, as Unix time in seconds.
        jti: the token's own name.
        issued: when it was made, as Unix time in seconds.
    """

    uid: str
    member_id: int | None
    role: str
    expires: float
    jti: str = ""
    issued: float = 0.0


def member_id_of(value: object) -> int | None:
    """A member id from a claim, header or body: a number, or a text of digits only (contract section 3); else None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 64:
        return int(value)
    return None


def require_authenticated(session: Any) -> None:
    """Let a handler continue for an authenticated member only. `session` is the handler's argument, of either kind.

    Raises:
        ClientError: the client is not authenticated.
    """
    if session.member is None:
        raise ClientError("Not authenticated.")
