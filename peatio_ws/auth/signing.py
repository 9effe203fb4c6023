"""Makes session tokens like Barong's with a given key. For tests and demos, never for a real exchange."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt

from peatio_ws.auth.keys import PrivateKey


def session_token(uid: str, expires: int, claims: Mapping[str, Any], key: PrivateKey | bytes, algorithm: str) -> str:
    """Return a session token that is valid for `expires` seconds. `claims` override the default claims.

    Raises:
        TypeError, jwt.PyJWTError: the key cannot sign with this algorithm.
    """
    now = int(time.time())
    payload = {
        "iat": now,
        "exp": now + expires,
        "jti": str(uuid.uuid4()),
        "sub": "session",
        "uid": uid,
        "state": "active",
        **claims,
    }
    return jwt.encode(payload, key, algorithm=algorithm)
