"""The identity that a verified token proves, and the check that handlers make of it.

Pure. Does not know how a token is verified (`verifier.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peatio_ws.errors import ClientError


@dataclass(frozen=True, slots=True)
class Identity:
    """The member whose token was verified.

    Attributes:
        uid: Barong's uid.
        member_id: Peatio's numeric id, if the token names it.
        role: for prefixed streams; empty if the token has no role.
        expires: when the token expires, leeway included; Unix time in seconds.
        jti: the token's unique id.
        issued: when the token was issued; Unix time in seconds.
    """

    uid: str
    member_id: int | None
    role: str
    expires: float
    jti: str = ""
    issued: float = 0.0


def member_id_of(value: object) -> int | None:
    """Return the member id in a claim, header or body (contract section 3); None for any other value.

    A member id is a number, or a text of digits only.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 64:
        return int(value)
    return None


def require_authenticated(session: Any) -> None:
    """Check that the client of a handler is an authenticated member.

    Args:
        session: the argument of the handler, of either kind.

    Raises:
        ClientError: the client is not authenticated.
    """
    if session.member is None:
        raise ClientError("Not authenticated.")
