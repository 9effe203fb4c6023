"""Session tokens for tests: their claims, and that a gateway verifies them like real ones."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from peatio_ws.auth.signing import session_token
from tests.unit.samples import private_key


def made(algorithm: str = "RS256", **claims: Any) -> dict[str, Any]:
    """Return the verified claims of a token made here."""
    key = private_key(algorithm)
    token = session_token("ID1", 600, claims, key, algorithm)
    public: Any = key.public_key()
    options = {"verify_aud": False}
    return jwt.decode(token, public, [algorithm], options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_token_is_a_session_of_the_uid_from_now_on(algorithm: str) -> None:
    before = int(time.time())
    claims = made(algorithm)
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 600
    assert (claims["uid"], claims["sub"], claims["state"]) == ("ID1", "session", "active")


def test_no_two_have_the_same_jti() -> None:
    assert made()["jti"] != made()["jti"]


def test_given_claims_replace_the_defaults() -> None:
    claims = made(state="banned", role="admin", iat=7)
    assert (claims["state"], claims["role"], claims["iat"]) == ("banned", "admin", 7)


def test_key_of_another_algorithm_cannot_sign() -> None:
    with pytest.raises((TypeError, jwt.PyJWTError)):
        session_token("ID1", 600, {}, private_key("RS256"), "ES256")
