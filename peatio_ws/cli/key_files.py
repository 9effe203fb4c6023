"""Key pairs and tokens for trials: how the command line makes and stores them.

On a real exchange, Barong holds the private key and issues the tokens. All errors are ClickExceptions, for the person
who typed the command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import jwt

from peatio_ws.auth import keys
from peatio_ws.auth.signing import session_token

KEY_FILE: Final = Path(".run/private.pem")
"""The default file of the private key."""


def make_token(
    uid: str,
    member_id: int | None,
    role: str,
    expires: int,
    audience: str | None,
    issuer: str | None,
    claims: Mapping[str, Any],
    key: str | None,
    algorithm: str,
) -> str:
    """Return a session token as Barong makes them. ClickException if there is no usable key."""
    claims = {
        "role": role,
        **({"member_id": member_id} if member_id is not None else {}),
        **({"aud": audience.split(",")} if audience else {}),
        **({"iss": issuer} if issuer else {}),
        **claims,
    }
    try:
        signing = keys.load_signing_key(_key_text(key, algorithm), algorithm)
        return session_token(uid, expires, claims, signing, algorithm)
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise click.ClickException(f"the key cannot sign with {algorithm}: {error}") from None


def has_key(key: str | None, algorithm: str) -> bool:
    """Return whether `make_token` has a key to sign with. A key named by the caller is assumed to exist."""
    return bool(key or os.environ.get(_variable(algorithm))) or (algorithm != "HS256" and KEY_FILE.exists())


def _variable(algorithm: str) -> str:
    """Return the variable with the key: for HS256 that of the gateway, which has the same secret."""
    return "JWT_PUBLIC_KEY" if algorithm == "HS256" else "JWT_PRIVATE_KEY"


def _key_text(key: str | None, algorithm: str) -> str:
    variable = _variable(algorithm)
    if not key and os.environ.get(variable):
        return os.environ[variable]
    if not key and algorithm == "HS256":
        raise click.ClickException("HS256 needs the gateway's secret: set JWT_PUBLIC_KEY, or --key to a file with it")
    path = Path(key) if key else KEY_FILE
    try:
        return path.read_text().rstrip("\r\n")
    except OSError as error:
        hint = "" if key else "; change to the folder of `run`, which makes it, or set --key or JWT_PRIVATE_KEY"
        raise click.ClickException(f"{path}: {error.strerror}{hint}") from None


def write_private(path: Path, key: keys.PrivateKey) -> None:
    """Write a key that only its owner can read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # of an existing file, too
        file.write(keys.private_pem(key))


def own_public_key(path: Path) -> str:
    """Return the public key of the pair at `path`, and make the pair if there is none. ClickException if unusable."""
    try:
        if not path.exists():
            write_private(path, keys.new_private_key("RS256"))
        text = keys.public_text(keys.load_private_key(path.read_text()))
        keys.load_public_key(text, "RS256")
    except OSError as error:
        raise click.ClickException(
            f"{path}: {error.strerror}; the key pair is stored there unless JWT_PUBLIC_KEY is set"
        ) from None
    except ValueError as error:
        raise click.ClickException(f"{path} {error}; move it away, and the command makes a new pair") from None
    return text
