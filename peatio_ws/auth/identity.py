"""Who a client is, by a verified token or by an application's own session; and the check that handlers make of it.

Pure. Does not know how a token is verified (`verifier.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from peatio_ws.errors import ClientError
from peatio_ws.errors.base import in_utf8

MOST_UID_BYTES: Final = 245
"""The longest uid: the routing key `private.<uid>.#` has at most 255 bytes (AMQP 0-9-1 section 4.2.5.3)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The member that a client is: by a verified token, or as a handler's `identify` returns it.

    An application that knows its members by a cookie makes it from a uid, and a role if it uses prefixed streams:
    `Identity("ID1234567890", role="member")`.

    Attributes:
        uid: Barong's uid.
        member_id: Peatio's numeric id; None if it is not known.
        role: for prefixed streams; empty without a role.
        expires: when the token expires, leeway included; Unix time in seconds. Infinite without a token.
        jti: the token's unique id.
        issued: when the token was issued; Unix time in seconds.
    """

    uid: str
    member_id: int | None = None
    role: str = ""
    expires: float = math.inf
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


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is a text that is not blank and that UTF-8 can encode.

    JSON can escape half of a surrogate pair (`"\\ud83d"`, RFC 8259 section 8.2), which Redis cannot store.
    """
    return isinstance(value, str) and bool(value.strip()) and in_utf8(value) == value


def is_uid(value: object) -> TypeGuard[str]:
    """Return whether a value can be the uid of a member."""
    return is_text(value) and len(value.encode()) <= MOST_UID_BYTES


def require_authenticated(session: Any) -> None:
    """Check that the client of a handler is an authenticated member.

    Args:
        session: the argument of the handler, of either kind.

    Raises:
        ClientError: the client is not authenticated.
    """
    if session.member is None:
        raise ClientError("Not authenticated.")
