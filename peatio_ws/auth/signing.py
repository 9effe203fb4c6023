"""Session tokens as Barong makes them, with a key at hand: for trying things out, never for a real exchange."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt

from peatio_ws.auth.keys import PrivateKey


def session_token(uid: str, expires: int, claims: Mapping[str, Any], key: PrivateKey | bytes, algorithm: str) -> str:
    """A session token for `expires` seconds from now. `claims` count before what stands here by itself.

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
