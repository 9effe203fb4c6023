"""Create session tokens like Barong's, for testing. A real client gets its token from Barong over HTTP.

Environment: JWT_PRIVATE_KEY (PEM, or its base64 in either alphabet). JWT_ALGORITHM, JWT_ISSUER and JWT_AUDIENCE have
to match the gateway's. MEMBER_ID is the member's number in Peatio, for an old Peatio that names members by number only.
TOKEN_SECONDS is the lifetime of a token in seconds (3600). Needs `pip install 'pyjwt[crypto]'`, which the gateway's own
environment has already.
"""

from __future__ import annotations

import base64
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt


def private_key() -> str:
    text = os.environ["JWT_PRIVATE_KEY"].strip()
    if "-----BEGIN" in text:
        return text
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "==").decode()


def token_maker(uid: str) -> Callable[[], str]:
    """Return a function that creates a new token at each call."""
    key, algorithm = private_key(), os.environ.get("JWT_ALGORITHM", "RS256")
    seconds = int(os.environ.get("TOKEN_SECONDS", "3600"))
    claims: dict[str, Any] = {
        "sub": "session",
        "iss": os.environ.get("JWT_ISSUER", "barong"),
        "aud": os.environ.get("JWT_AUDIENCE", "peatio,barong").split(","),
        "uid": uid,
        "role": "member",
        "state": "active",
    }
    if "MEMBER_ID" in os.environ:
        claims["member_id"] = int(os.environ["MEMBER_ID"])

    def make() -> str:
        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": now + seconds, "jti": str(uuid.uuid4())}, key, algorithm)

    return make
